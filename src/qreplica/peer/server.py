"""The target's side of the peer conversation: the routes of ``peer.messages`` on every iSCSI port's address."""

from typing import Annotated

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from qreplica.errors import QReplicaError
from qreplica.peer import life, listing
from qreplica.peer.authentication import authenticate
from qreplica.peer.errors import MessageInvalid, NoSuchRoute, PeerInternalError
from qreplica.peer.gate import PROBLEM_TYPE, Gate
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
    Id,
    Lineage,
    NodeList,
    PointDigests,
    Promote,
    Promoted,
    Release,
)
from qreplica.peer.pairing import HalfKey
from qreplica.replication.promotion import Promoter, promoted
from qreplica.replication.recovery import Recovery
from qreplica.state.database import Database

_NODE = "/peer/v1/nodes/{iqn}"


def peer_app(database: Database, controller: int, recovery: Recovery, promoter: Promoter) -> FastAPI:
    """Return the application that answers source subsystems at this controller's iSCSI ports."""
    app = FastAPI(title="QReplica peer", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Gate, authenticate=lambda request, header: authenticate(database, request, header))
    _answer_problems(app)
    _answer_lists(app, database, controller)
    _answer_job(app, recovery)
    _answer_of_copies(app, recovery, promoter)
    return app


def _answer_lists(app: FastAPI, database: Database, controller: int) -> None:
    """Add what a source asks before it has a job, and while it waits."""

    @app.get(life.PATH, status_code=204)
    async def alive() -> None:
        """Answer from the event loop: all threads may be at work on something that takes long."""

    @app.get("/peer/v1/nodes")
    def nodes() -> NodeList:
        with database.session(read_only=True) as session:
            return listing.nodes(session, controller)

    @app.get(_NODE + "/promotion")
    def promotion(iqn: str, vd: Id) -> Promoted:
        with database.session(read_only=True) as session:
            return promoted(session, iqn, vd)

    @app.get(_NODE + "/backup-vds")
    def backup_vds(iqn: str) -> BackupVdList:
        with database.session(read_only=True) as session:
            return listing.backup_vds(session, iqn)


def _answer_job(app: FastAPI, recovery: Recovery) -> None:
    """Add what a job asks."""

    @app.post(_NODE + "/claim")
    def claim(iqn: str, message: Claim, request: Request) -> Lineage:
        if request.state.signed:
            return recovery.claim(iqn, message)
        if message.pairing_key is None:
            raise MessageInvalid(reason="an unsigned claim must bring a pairing key")
        half = HalfKey()
        secret = half.agree(
            message.pairing_key, iqn=iqn, job=message.job, source=message.pairing_key, target=half.public
        )
        lineage = recovery.claim(iqn, message, pairing_secret=secret)
        return lineage.model_copy(update={"pairing_key": half.public})

    @app.post(_NODE + "/begin")
    def begin(iqn: str, message: Begin) -> Begun:
        return recovery.begin(iqn, message)

    @app.post(_NODE + "/compare")
    def compare(iqn: str, message: Compare) -> Digests:
        return recovery.compare(iqn, message)

    @app.post(_NODE + "/commit")
    def commit(iqn: str, message: Commit) -> Committed:
        return recovery.commit(iqn, message)

    @app.post(_NODE + "/abort")
    def abort(iqn: str, message: Abort) -> Lineage:
        return recovery.abort(iqn, message)

    @app.get(_NODE + "/lineage")
    def lineage(iqn: str, lun: Annotated[int, Query(ge=1, le=255)]) -> Lineage:
        return recovery.lineage(iqn, lun)

    @app.post(_NODE + "/release", status_code=204)
    def release(iqn: str, message: Release) -> None:
        recovery.release(iqn, message)


def _answer_of_copies(app: FastAPI, recovery: Recovery, promoter: Promoter) -> None:
    """Add what a job asks about what it has committed."""

    @app.post(_NODE + "/compare-point")
    def compare_point(iqn: str, message: ComparePoint) -> PointDigests:
        return recovery.compare_point(iqn, message)

    @app.post(_NODE + "/promote")
    def promote(iqn: str, message: Promote) -> Promoted:
        return promoter.promote_for(iqn, message)


def _answer_problems(app: FastAPI) -> None:
    @app.exception_handler(QReplicaError)
    def expected(_: Request, error: QReplicaError) -> Response:
        return _problem(error)

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return _problem(MessageInvalid(reason=f"{place}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    def no_route(request: Request, error: HTTPException) -> Response:
        return _problem(NoSuchRoute(method=request.method, path=request.url.path, status=error.status_code))

    # Starlette logs the exception and raises it again after this answer.
    @app.exception_handler(Exception)
    def unexpected(_: Request, error: Exception) -> Response:
        return _problem(PeerInternalError(error=type(error).__name__))


def _problem(error: QReplicaError) -> Response:
    return JSONResponse(error.problem(), status_code=error.status, media_type=PROBLEM_TYPE)
