"""A controller of the model's target: what answers requests, and dies or hangs in the middle of one."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from qreplica.errors import QReplicaError
from qreplica.peer.errors import PeerUnreachable
from qreplica.replication.recovery import Recovery
from qreplica.replication.recovery_errors import StaleEpoch
from qreplica.replication.recovery_locks import NodeLocks
from qreplica.replication.recovery_serving import Serving
from qreplica.replication.retention import Policy

from .pair import ADDRESSES, Crash, Steps, _Forgetting
from .recovery.world import Stepping, SteppingDatabase

if TYPE_CHECKING:
    from .model_target import TargetPair

#: Recovery points that the target keeps, so that some are let go of.
KEEP = 3
_STEPS_OF_STORAGE = {"roll_back", "take_snapshot", "delete_snapshot", "flush", "resize_vd", "vd_path"}
_STEPS_OF_DAEMONS = {"fence_node", "remove_node", "apply_node"}
_DEADLOCK = 120.0  # seconds after which a request that does not come to its end is stuck


class Request:
    """A request in a thread of its own, which may hang at a step until it is woken."""

    def __init__(self, epoch: int, steps: Steps, ask: Callable[[], Any]) -> None:
        self.epoch = epoch
        self.hangs = False
        self.answer: Any = None
        self.error: BaseException | None = None
        self._steps = steps
        self._ask = ask
        self._stands = threading.Semaphore(0)
        self._woken = threading.Semaphore(0)
        steps.what = self._hang
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._stands.acquire(timeout=_DEADLOCK), f"the request is stuck after {steps.taken[-3:]}"

    def _run(self) -> None:
        try:
            self.answer = self._ask()
        except BaseException as error:  # noqa: BLE001 - whoever waits is to raise it
            self.error = error
        self._stands.release()

    def _hang(self, name: str) -> None:
        """Wait for ``wake``; not within a transaction, where that would hold up all others."""
        if name == "commit":
            self._steps.at = len(self._steps.taken)
            return
        self.hangs = True
        self._stands.release()
        self._woken.acquire()
        self.hangs = False
        if self._steps.dead:
            raise Crash

    def wake(self) -> None:
        """Have it go on to its end."""
        self._woken.release()
        self._thread.join()

    def kill(self) -> None:
        """Have it do nothing more."""
        self._steps.dead = True
        self.wake()


class Service:
    """A controller's service; the source hears nothing when it dies or hangs in a request."""

    def __init__(self, pair: "TargetPair", address: str) -> None:
        self._pair = pair
        self.address = address
        self.hung: Request | None = None
        self.will_hang = False
        self.start()

    def start(self) -> None:
        """Begin anew; the target daemon went on meanwhile."""
        pair = self._pair
        self.end()
        self.steps = steps = Steps()
        self.will_hang = False
        database: Any = SteppingDatabase(pair.target_database, steps)
        storage: Any = Stepping(_Forgetting(pair.target_storage, pair.disk), steps, _STEPS_OF_STORAGE)
        daemons: Any = {
            number: Stepping(self._daemon(address), steps, _STEPS_OF_DAEMONS)
            for number, address in enumerate(ADDRESSES, start=1)
        }
        self.recovery = Recovery(database, storage, Serving(database, storage, daemons, pair._spec, NodeLocks()))
        self.recovery._points = replace(self.recovery._points, default=Policy(last=KEEP))
        pair.serve(self.address)

    def end(self) -> None:
        """End what it hangs in."""
        if self.hung is not None:
            self.hung.kill()
            self.hung = None

    def _daemon(self, address: str) -> Any:
        return self._pair.daemons[address] if address == self.address else self._pair.beside(address)

    def end_soon(self, step: int) -> None:
        """Die at a step of what it is asked next."""

        def die(_: str) -> None:
            raise Crash

        self.steps.at, self.steps.what = len(self.steps.taken) + step, die

    def hang_soon(self, step: int) -> None:
        """Hang at a step of what it is asked next."""
        self.will_hang = True
        self.steps.at = len(self.steps.taken) + step

    def hang_no_more(self) -> None:
        """It need not hang in what it is asked next."""
        self.will_hang, self.steps.at = False, None

    def wake(self) -> None:
        """Go on, and bring the target daemon in line with the database."""
        request, self.hung = self.hung, None
        if request is None:
            return
        request.wake()
        self._pair.seen["requests that hung"] += 1
        if request.error is not None and not isinstance(request.error, QReplicaError):
            raise request.error
        self._pair.serve(self.address)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._ask(name, *arguments)

    def _ask(self, name: str, *arguments: Any) -> Any:
        pair = self._pair
        if self.hung is not None:
            raise self._unreachable()
        try:
            answer = self._answer(lambda: getattr(self.recovery, name)(*arguments), arguments[1].epoch)
        except StaleEpoch:
            pair.refused[f"{name} of an old epoch"] += 1
            raise
        except Crash:
            pair.seen[f"the target died in {name}"] += 1
            self.start()
            raise self._unreachable() from None
        if name == "claim":
            pair.answered = arguments[1].epoch
        return answer

    def _answer(self, ask: Callable[[], Any], epoch: int) -> Any:
        if not self.will_hang:
            return ask()
        self.will_hang = False
        request = Request(epoch, self.steps, ask)
        if request.hangs:
            self.hung = request
            raise self._unreachable()
        self.steps.at = None
        if request.error is not None:
            raise request.error
        return request.answer

    def _unreachable(self) -> PeerUnreachable:
        return PeerUnreachable(address=self.address, port=3261, reason="it does not answer")
