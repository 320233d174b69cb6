"""A mail server, a syslog server and a web server on loopback, which keep what they are told."""

import contextlib
import email
import email.policy
import http.server
import socket
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any


class MailServer:
    """As much of SMTP as a client needs (RFC 5321); refuses recipients and logins where told to."""

    def __init__(self) -> None:
        self.letters: list[EmailMessage] = []
        self.commands: list[str] = []
        self.refuse: str | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                with link, link.makefile("rwb") as stream, contextlib.suppress(OSError):
                    self._talk(stream)

    def _talk(self, stream: Any) -> None:
        def say(line: str) -> None:
            stream.write(line.encode() + b"\r\n")
            stream.flush()

        say("220 mail.example.org")
        while line := stream.readline():
            command = line.decode().strip()
            self.commands.append(command)
            verb = command.split()[0].upper()
            if self.refuse is not None and verb == self.refuse:
                say("550 not here")
            elif verb == "EHLO":
                say("250-mail.example.org")
                say("250 AUTH PLAIN")
            elif verb == "AUTH":
                say("235 welcome")
            elif verb == "DATA":
                say("354 go on")
                body = b""
                while (part := stream.readline()) != b".\r\n":
                    body += part
                self.letters.append(email.message_from_bytes(body, policy=email.policy.default))  # type: ignore[arg-type]
                say("250 taken")
            elif verb == "QUIT":
                say("221 bye")
                return
            else:
                say("250 fine")


class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.requests.append((dict(self.headers), body))
        self.send_response(server.status)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def web_server(status: int = 200) -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    server.requests, server.status = [], status
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
