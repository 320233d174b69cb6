"""The CHAP accounts of one tgtd.

tgtd keeps one list of names and secrets for all its nodes and binds nodes to names; it never shows a secret,
so what was set is remembered here. An account exists only while a node uses it.
"""

from collections.abc import Iterable

from qreplica.iscsi.target import parse
from qreplica.iscsi.target.driver import Credentials
from qreplica.iscsi.target.errors import TargetCommandFailed
from qreplica.iscsi.target.mgmt import Management, Mode, Op, Refusal


class Accounts:
    """Creates, binds and deletes accounts."""

    def __init__(self, tgtd: Management) -> None:
        self._tgtd = tgtd
        self._secrets: dict[str, str] = {}

    def bind(self, tid: int, credentials: Credentials, *, outgoing: bool) -> None:
        """Let the node ask initiators for these credentials or, ``outgoing``, prove itself by them."""
        self._ensure(credentials)
        self._tgtd.request(Mode.ACCOUNT, Op.BIND, f"user={credentials.user}", tid=tid, outgoing=outgoing)

    def unbind(self, tid: int, credentials: Credentials, *, outgoing: bool) -> None:
        """Undo ``bind``; one that is not bound is fine."""
        try:
            self._tgtd.request(Mode.ACCOUNT, Op.UNBIND, f"user={credentials.user}", tid=tid, outgoing=outgoing)
        except TargetCommandFailed as error:
            if error.fields["code"] is not Refusal.NO_ACCOUNT:
                raise

    def keep_only(self, used: Iterable[str]) -> None:
        """Delete every account whose name no node uses, so that tgtd forgets its secret."""
        for user in self._present() - set(used):
            self._delete(user)

    def _ensure(self, credentials: Credentials) -> None:
        present = credentials.user in self._present()
        if present and self._secrets.get(credentials.user) == credentials.secret:
            return
        if present:
            self._delete(credentials.user)
        self._tgtd.request(Mode.ACCOUNT, Op.NEW, f"user={credentials.user},password={credentials.secret}")
        self._secrets[credentials.user] = credentials.secret

    def _delete(self, user: str) -> None:
        self._secrets.pop(user, None)
        self._tgtd.request(Mode.ACCOUNT, Op.DELETE, f"user={user}")

    def _present(self) -> frozenset[str]:
        return parse.accounts(self._tgtd.request(Mode.ACCOUNT, Op.SHOW))
