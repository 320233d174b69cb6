"""Why the command line believes that it speaks to the subsystem: a pinned certificate, or a certificate authority."""

import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import typer

from qreplica import fingerprints
from qreplica.cli import asking, output
from qreplica.cli.errors import CaFileUnusable, CertificateChanged, CertificateUnknown, SubsystemUnreachable

_PATIENCE = 10.0
_HTTPS = 443


@dataclass(frozen=True, slots=True)
class Trust:
    """What proves each controller: the certificate's fingerprint by URL, else the authorities in ``ca_file``.

    Without a ``ca_file`` those that the system knows. ``coming`` are fingerprints that the subsystem itself has told: a
    controller that is known by another one may show one of these from some moment on.
    """

    pins: Mapping[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    coming: Sequence[str] = ()

    def context(self, url: str) -> ssl.SSLContext:
        """Return what refuses everybody else at ``url``. Raises CaFileUnusable."""
        if url in self.pins:
            return Pinned.of(url, self.pins[url], self.coming)
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise CaFileUnusable(file=self.ca_file, reason=error.strerror or error) from error

    def also(self, url: str, others: Mapping[str, str | None]) -> Self:
        """Return what also proves the other controllers, as the one at ``url`` has told of their fingerprints.

        Where an authority vouches for it, it vouches for them too.
        """
        if url not in self.pins:
            return self
        told = {other: fingerprint for other, fingerprint in others.items() if fingerprint is not None}
        return type(self)({**self.pins, **told}, self.ca_file, self.coming)


class Pinned(ssl.SSLContext):
    """A context by which a connection is made to the holder of one certificate, whoever has signed it.

    ``moved`` is the fingerprint of another one, of those that were ``coming``, that was shown instead.
    """

    url: str
    fingerprint: str
    coming: Sequence[str]
    moved: str | None

    @classmethod
    def of(cls, url: str, fingerprint: str, coming: Sequence[str] = ()) -> Self:
        """Return one for the holder of that fingerprint's certificate, or of one that is coming."""
        made = cls(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE  # what is checked below is stronger
        made.url, made.fingerprint, made.coming, made.moved = url, fingerprint, coming, None
        return made

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:  # noqa: ANN401 - the base class's
        """Shake hands, and raise CertificateChanged before anything is said to somebody else."""
        connection = super().wrap_socket(*arguments, **options)
        found = _shown(connection)
        if found == self.fingerprint:
            return connection
        if found in self.coming:
            self.moved = found
        else:
            whose = _whose(connection)
            connection.close()
            raise CertificateChanged(url=self.url, found=found, whose=whose, expected=self.fingerprint)
        return connection


def first(url: str, *, ca_file: str | None, fingerprint: str | None, known: Trust | None) -> Trust:
    """Return the trust to log in with: what is given, else what was saved, else what is asked for.

    Raises NotAFingerprint, CaFileUnusable, CertificateUnknown when nobody can be asked or the answer is no,
    SubsystemUnreachable.
    """
    if not url.startswith("https:"):
        return Trust()
    if fingerprint is not None:
        return Trust({url: fingerprints.normal(fingerprint)})
    if ca_file is not None:
        return Trust(ca_file=str(Path(ca_file).absolute()))
    if known is not None and (url in known.pins or known.ca_file is not None):
        return known
    found = _unknown(url)
    if found is None:
        return Trust()
    question = (
        f"{url} shows a certificate that nobody known has signed. Its SHA-256 fingerprint is\n  {found}\n"
        "Compare it with the one in the log of qreplicad. Trust it from now on"
    )
    if not asking.on_terminal() or not typer.confirm(question, err=True):
        raise CertificateUnknown(url=url, found=found)
    return Trust({url: found})


def _unknown(url: str) -> str | None:
    """Return the fingerprint of the certificate at ``url``, None when an authority that the system knows vouches."""
    try:
        _look(url, ssl.create_default_context()).close()
    except ssl.SSLCertVerificationError:
        blind = ssl.create_default_context()
        blind.check_hostname = False
        blind.verify_mode = ssl.CERT_NONE  # nothing is said over this connection
        with _look(url, blind) as connection:
            return _shown(connection)
    return None


def _look(url: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Return a connection on which nothing was said yet. Raises SSLCertVerificationError, SubsystemUnreachable."""
    parts = urlsplit(url)
    try:
        plain = socket.create_connection((parts.hostname or "", parts.port or _HTTPS), _PATIENCE)
    except OSError as error:
        raise SubsystemUnreachable(url=url, reason=error) from error
    try:
        return context.wrap_socket(plain, server_hostname=parts.hostname)
    except ssl.SSLCertVerificationError:
        plain.close()
        raise
    except OSError as error:
        plain.close()
        raise SubsystemUnreachable(url=url, reason=error) from error


def _whose(connection: ssl.SSLSocket) -> str:
    """Return of whom the certificate is and who signed it, as the certificate says."""
    from qreplica.access import certificate_pem  # noqa: PLC0415 - start fast

    try:
        facts = certificate_pem.facts_of(ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b""))
    except ValueError:
        return "which cannot be read"
    return f"which says that it is of {output.printable(facts.subject)} and signed by {output.printable(facts.issuer)}"


def _shown(connection: ssl.SSLSocket) -> str:
    certificate = connection.getpeercert(binary_form=True)
    return "" if certificate is None else fingerprints.of(certificate)
