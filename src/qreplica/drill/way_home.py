"""The second half of the drills that promote: the old source gives way, and only what has changed comes home."""

import secrets

from qreplica.drill.judge import digest
from qreplica.drill.promotion import compared
from qreplica.drill.stage import LUN, NAME, TAKER, Stage
from qreplica.lab.administration import write_secret
from qreplica.lab.topology import Side

#: Blocks that the host changes on the copy before; what comes home is to be much less than all.
CHANGES = 2000
_MUCH_LESS = 10


def give_way(stage: Stage) -> list[str]:
    """Have the superseded job's source VD give way; return what is wrong.

    What was written there since must be in the snapshot that is kept, and the VD must be its last common generation.
    """
    source, ledger = stage.side[Side.SOURCE], stage.parts.ledger
    base, live = ledger.base_file(NAME), ledger.live(Side.SOURCE, NAME)
    source("lun", "delete", NAME, str(LUN), "--yes")
    diverged = digest(live)
    kept = source("job", "give-way", NAME, "--yes")["kept"]
    wrong = compared(live, base, "after it gave way")
    if digest(ledger.snapshot(Side.SOURCE, NAME, kept)) != diverged:
        wrong.append(f"snapshot {kept} is not what was written to the old source after its copy was promoted")
    return wrong


def come_home(stage: Stage) -> list[str]:
    """Replicate from the promoted copy to the old source; return what is wrong: both must be the same afterwards."""
    source, target = stage.side[Side.SOURCE], stage.side[Side.TARGET]
    secret = stage.lab.directory / f"{TAKER}-secret"
    secret.unlink(missing_ok=True)
    write_secret(secret, secrets.token_hex(8))
    chap = ("--chap-user", "home", "--chap-secret-file", str(secret))
    node = source("node", "create", TAKER, *chap)["iqn"]
    source("lun", "create", TAKER, NAME, "--lun", str(LUN))
    address = stage.lab.controller(Side.SOURCE).ports[0].address
    where = ("--address", address, "--node", node, "--lun", str(LUN))
    target("job", "create", NAME, "--source-vd", NAME, *where, *chap)
    cycle = target("job", "start", NAME, "--yes", "--follow")["cycle"]
    ledger = stage.parts.ledger
    wrong = compared(ledger.live(Side.SOURCE, NAME), ledger.live(Side.TARGET, NAME), "after it came home")
    if cycle["kind"] != "incremental" or cycle["total_bytes"] * _MUCH_LESS > stage.fill:
        wrong.append(f"{cycle['total_bytes']} bytes were sent home ({cycle['kind']}), not only what had changed")
    return wrong
