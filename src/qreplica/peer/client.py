"""The source's side of the peer conversation: one portal of the target, one node's secret."""

import time
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from qreplica.errors import QReplicaError
from qreplica.iscsi.target.driver import Credentials
from qreplica.peer import signing
from qreplica.peer.messages import (
    Abort,
    BackupVdList,
    Begin,
    Begun,
    Claim,
    Commit,
    Committed,
    Compare,
    ComparePoint,
    Digests,
    Lineage,
    NodeList,
    PointDigests,
    Promote,
    Promoted,
    Release,
)
from qreplica.peer.pairing import HalfKey
from qreplica.peer.problems import Problem
from qreplica.peer.wire import DAEMON_SILENCE, Answer, Wire

#: Seconds for what waits for the target's sessions to end or its disks to follow, unless the timeout is longer.
PATIENCE = 120.0

_Message = TypeVar("_Message", bound=BaseModel)


class PeerClient:
    """Speaks to the target subsystem at one of its iSCSI port addresses.

    Requests are signed with ``credentials`` (the node's CHAP name and secret) or ``pairing_secret``; with neither, only
    ``nodes``, ``backup_vds`` and the pairing ``claim`` of a node without CHAP can succeed. ``interface`` binds every
    connection to that network interface (socket(7), SO_BINDTODEVICE). ``timeout`` ends a whole exchange, in seconds;
    claim, begin, compare, commit, abort and release, which wait for sessions and disks, get at least PATIENCE, as long
    as the target's daemon shows a sign of life every ``silence`` seconds.

    Every method raises PeerUnreachable, PeerAnswersGarbage, or the target's refusal as the error that it was there, or
    RemoteRefused. After a PeerFailed the request may have been obeyed all the same; every one can be repeated, a
    claim with a higher epoch. Not for several threads at once.
    """

    def __init__(
        self,
        address: str,
        peer_port: int,
        credentials: Credentials | None,
        pairing_secret: str | None = None,
        *,
        interface: str | None = None,
        timeout: float = 10,
        silence: float = DAEMON_SILENCE,
    ) -> None:
        self._wire = Wire(address, peer_port, interface, timeout, silence)
        self._identity = credentials
        if credentials is None and pairing_secret is not None:
            self._identity = Credentials(signing.PAIRING_NAME, pairing_secret)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open. Idempotent."""
        self._wire.close()

    def nodes(self) -> NodeList:
        """Return the nodes that hold backup VDs; needs no secret."""
        answer = self._wire.exchange(self._wire.prepare("GET", "/peer/v1/nodes", b""), self._wire.timeout)
        if not answer.success:
            raise self._refusal(answer, genuine=True)
        return self._read(NodeList, answer)

    def backup_vds(self, iqn: str) -> BackupVdList:
        """Return the LUNs of a node."""
        return self._read(BackupVdList, self._ask("GET", iqn, "backup-vds"))

    def claim(self, iqn: str, claim: Claim) -> Lineage:
        """Take the backup VD for a job; on return every older epoch is cut off.

        Without credentials and pairing secret this pairs: the answer's ``pairing_secret`` is then for the caller to
        keep, and this client uses it from now on. Raises StaleEpoch, ClaimedByAnother, NotABackupVd, VdMismatch,
        LunEmpty, FencingFailed.
        """
        if self._identity is not None:
            return self._read(Lineage, self._ask("POST", iqn, "claim", claim))
        half = HalfKey()
        claim = claim.model_copy(update={"pairing_key": half.public})
        lineage = self._read(Lineage, self._ask("POST", iqn, "claim", claim))
        if lineage.pairing_key is None:
            raise self._wire.garbage("it took the claim without pairing")
        secret = half.agree(lineage.pairing_key, iqn=iqn, job=claim.job, source=half.public, target=lineage.pairing_key)
        self._identity = Credentials(signing.PAIRING_NAME, secret)
        return lineage.model_copy(update={"pairing_secret": secret})

    def begin(self, iqn: str, begin: Begin) -> Begun:
        """Start or resume a generation.

        Raises BaseMismatch, GenerationInvalid, BackupVdCannotFollow, StaleEpoch, NotClaimed, NotServed.
        """
        return self._read(Begun, self._ask("POST", iqn, "begin", begin))

    def compare(self, iqn: str, compare: Compare) -> Digests:
        """Return what the live backup VD holds from the offset on.

        Raises NotBegun, ManifestMismatch, BeyondBackupVd, StaleEpoch, NotClaimed, and NoSuchRoute from a target of an
        older version.
        """
        answer = self._read(Digests, self._ask("POST", iqn, "compare", compare))
        if not compare.tells(answer.end, answer.digests):
            raise self._wire.garbage("the chunks that it tells of are not those that it was asked about")
        return answer

    def compare_point(self, iqn: str, compare: ComparePoint) -> PointDigests:
        """Return what a recovery point holds from the offset on.

        Raises NoSuchPoint, NotClaimed, and NoSuchRoute from a target of an older version.
        """
        answer = self._read(PointDigests, self._ask("POST", iqn, "compare-point", compare))
        if not compare.tells(answer.end, answer.digests):
            raise self._wire.garbage("the chunks that it tells of are not those that it was asked about")
        return answer

    def commit(self, iqn: str, commit: Commit) -> Committed:
        """Make the generation a recovery point. Raises NotBegun, ManifestMismatch, StaleEpoch, NotClaimed."""
        return self._read(Committed, self._ask("POST", iqn, "commit", commit))

    def abort(self, iqn: str, abort: Abort) -> Lineage:
        """Give up the generation in progress. Raises StaleEpoch, NotClaimed."""
        return self._read(Lineage, self._ask("POST", iqn, "abort", abort))

    def lineage(self, iqn: str, lun: int) -> Lineage:
        """Return what the backup VD holds, without claiming it."""
        return self._read(Lineage, self._ask("GET", iqn, f"lineage?lun={lun}"))

    def promotion(self, iqn: str, vd: str) -> Promoted:
        """Return what became of a backup VD that was promoted. Raises NotPromoted."""
        return self._read(Promoted, self._ask("GET", iqn, f"promotion?vd={vd}"))

    def promote(self, iqn: str, promote: Promote) -> Promoted:
        """Have the backup VD promoted; on return hosts can be given it, and the job is refused.

        Raises NotClaimed, StaleEpoch, NoSuchGeneration, PromotedOtherwise, FencingFailed, PeerBusy.
        """
        return self._read(Promoted, self._ask("POST", iqn, "promote", promote))

    def release(self, iqn: str, release: Release) -> None:
        """Give the backup VD back. Raises StaleEpoch."""
        self._ask("POST", iqn, "release", release)

    def _ask(self, method: str, iqn: str, leaf: str, message: BaseModel | None = None) -> Answer:
        """Return the answer to a signed request; it is a success, and genuine."""
        body = b"" if message is None else message.model_dump_json().encode()
        request = self._wire.prepare(method, f"/peer/v1/nodes/{quote(iqn, safe=':')}/{leaf}", body)
        patience = self._wire.timeout if message is None else max(self._wire.timeout, PATIENCE)
        if self._identity is None:
            answer, genuine = self._wire.exchange(request, patience), True
        else:
            keys = signing.keys(self._identity.secret, iqn)
            signed = signing.Request(method, request.url.raw_path.decode("ascii"), body)
            signature = signing.sign(keys, self._identity.user, signed, int(time.time()))
            request.headers["Authorization"] = signature.header()
            answer = self._wire.exchange(request, patience)
            proof = answer.headers.get(signing.ANSWER_HEADER, "")
            genuine = signing.answer_genuine(keys, signature, answer.status, answer.body, proof)
        if not answer.success:
            raise self._refusal(answer, genuine=genuine)
        if not genuine:
            raise self._wire.garbage("its answer is not signed with the node's secret")
        return answer

    def _read(self, form: type[_Message], answer: Answer) -> _Message:
        try:
            return form.model_validate_json(answer.body)
        except ValidationError as error:
            raise self._wire.garbage("its answer is not as agreed: " + error.errors()[0]["msg"]) from error

    def _refusal(self, answer: Answer, *, genuine: bool) -> QReplicaError:
        try:
            problem = Problem.model_validate_json(answer.body)
        except ValidationError:
            return self._wire.garbage(f"HTTP status {answer.status} without a reason")
        if not genuine and not problem.may_be_unsigned:
            return self._wire.garbage("its refusal is not signed with the node's secret")
        return problem.error(self._wire.address)
