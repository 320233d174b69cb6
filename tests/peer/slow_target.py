"""A target in a process of its own, which takes its time: ``slow_target.py hangs|dies|works QUESTIONS``.

It prints its TCP port. Asked for anything it stops all of itself (SIGSTOP) in the middle of its answer, or is killed
before it, or else works on it until it has been asked for so many signs of life, and prints “answered”.
"""

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NODES = {"subsystem": "target", "subsystem_id": "0" * 32, "controller": 1, "nodes": []}
asked = threading.Semaphore(0)


class Handler(BaseHTTPRequestHandler):
    """Answers with HTTP/1.0: a connection for each request."""

    def do_GET(self) -> None:
        if self.path == "/peer/v1/alive":
            asked.release()
            self.send_response(204)
            self.end_headers()
            return
        if sys.argv[1] == "hangs":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            os.kill(os.getpid(), signal.SIGSTOP)
            # The kernel may stop another thread first.
            threading.Event().wait()
        if sys.argv[1] == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        for _ in range(int(sys.argv[2])):
            asked.acquire()
        body = json.dumps(NODES).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        print("answered", flush=True)

    def do_POST(self) -> None:
        # What is not read when the connection ends would make its end a reset.
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Keep still."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
