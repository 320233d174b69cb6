"""Speaks to one subsystem's REST API."""

import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from qreplica.cli import credentials
from qreplica.cli.errors import (
    AnswerNotUnderstood,
    CertificateRefused,
    FileNotWritten,
    NotAUrl,
    NotLoggedIn,
    Refused,
    SubsystemUnreachable,
)
from qreplica.cli.trust import Pinned, Trust

#: Seconds to wait for an answer: deleting a large snapshot or fencing a target may take a while.
PATIENCE = 120.0


def normal(url: str) -> str:
    """Return ``url`` as logins are saved under. Raises NotAUrl."""
    try:
        parts = urlsplit(url if "://" in url else f"https://{url}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        raise NotAUrl(url=url) from error
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path not in {"", "/"} or parts.username:
        raise NotAUrl(url=url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"


class Client:
    """One subsystem, by whichever of its controllers answers: ``others`` are tried when ``url`` does not.

    A change is sent again only where no controller can have heard it. Raises Refused for a problem answer, else
    SubsystemUnreachable, AnswerNotUnderstood or NotLoggedIn; for a controller that cannot prove to be one
    CertificateChanged, CertificateRefused or CaFileUnusable.
    """

    def __init__(self, url: str, token: str | None, others: Sequence[str] = (), trust: Trust | None = None) -> None:
        self.url = url
        self._trust = trust or Trust()
        self._https: dict[str, httpx.Client] = {}
        self._pinned: dict[str, Pinned] = {}
        self._token = token
        self._answering = [url, *others]

    @classmethod
    def to(cls, url: str) -> Self:
        """Return a client with the saved login to ``url``, if there is one."""
        login = credentials.of_url(url)
        if login is None:
            return cls(url, None)
        return cls(url, login.token, login.also, Trust(login.pins, login.ca_file, login.coming))

    @property
    def is_pinned(self) -> bool:
        """Whether the controllers are known by their certificates' fingerprints."""
        return bool(self._trust.pins)

    @property
    def answered(self) -> str:
        """The URL of the controller that answered last, or else is asked first."""
        return self._answering[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._https.values():
            one.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - whatever JSON came
        """Return what ``path`` holds."""
        return self.call("GET", path, query=query)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - whatever JSON came
        """Ask for a change and return the answer."""
        return self.call("POST", path, body=body)

    def delete(self, path: str, query: Mapping[str, Any] | None = None) -> None:
        """Delete what ``path`` names."""
        self.call("DELETE", path, query=query)

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        needs_login: bool = True,
    ) -> Any:  # noqa: ANN401 - whatever JSON came
        """Send a request and return the JSON of its answer, None when it has none.

        ``content`` is a body that must arrive byte for byte, in place of ``body``.
        """
        answer = self._answer(method, path, body=body, content=content, query=query, needs_login=needs_login)
        return self._understood(answer)

    def download(self, path: str, query: Mapping[str, Any], file: Path) -> None:
        """Write what ``path`` holds to a file for the user alone. Raises FileNotWritten, also when it is there."""
        response = self._answer("GET", path, query=query)
        if not response.is_success:
            self._understood(response)
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(response.content)
        except OSError as error:
            raise FileNotWritten(file=file, reason=error.strerror) from error

    def _answer(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        content: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        needs_login: bool = True,
    ) -> httpx.Response:
        if needs_login and self._token is None:
            raise NotLoggedIn(url=self.url)
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        failure: httpx.TransportError | None = None
        for url in list(self._answering):
            try:
                response = self._http(url).request(
                    method, f"{url}/api/v1{path}", json=body, content=content, params=query, headers=headers
                )
            except httpx.TransportError as error:
                if (refused := _refused(error)) is not None:
                    raise CertificateRefused(url=url, reason=refused.verify_message) from error
                failure = failure or error
                if method != "GET" and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    break
            else:
                self._answering.sort(key=lambda one: one != url)
                self._move_on(url)
                return response
        raise SubsystemUnreachable(url=self.url, reason=str(failure) or type(failure).__name__) from failure

    def _move_on(self, url: str) -> None:
        """Know a controller by what it shows now, and no more by what it showed before."""
        context = self._pinned.get(url)
        if context is not None and context.moved is not None:
            credentials.know(self.url, pins={url: context.moved})
            context.fingerprint, context.coming, context.moved = context.moved, (), None

    def _http(self, url: str) -> httpx.Client:
        """Return what speaks to one controller, and to nobody who is not it."""
        if url not in self._https:
            verify = self._trust.context(url) if url.startswith("https:") else True
            if isinstance(verify, Pinned):
                self._pinned[url] = verify
            timeout = httpx.Timeout(PATIENCE, connect=10)
            self._https[url] = httpx.Client(timeout=timeout, trust_env=False, verify=verify)
        return self._https[url]

    def _understood(self, response: httpx.Response) -> Any:  # noqa: ANN401 - whatever JSON came
        if response.status_code == httpx.codes.NO_CONTENT:
            return None
        try:
            answer = response.json()
        except ValueError as error:
            raise AnswerNotUnderstood(url=self.url, status=response.status_code) from error
        if response.is_success:
            return answer
        if isinstance(answer, dict) and isinstance(answer.get("detail"), str) and "type" in answer:
            raise Refused(answer)
        raise AnswerNotUnderstood(url=self.url, status=response.status_code)


def _refused(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return the failed check of a certificate that is behind ``error``, if there is one."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        error = error.__cause__ or error.__context__
    return None
