"""One virtual disk: its snapshots and recovery points, and where it is attached."""

import asyncio
from functools import partial
from typing import Any

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui.dialogs import offer
from qreplica.ui.frame import heading, page
from qreplica.ui.looking import Looking
from qreplica.ui.storage import luns, recovery_points, snapshots, space, test_mounts, virtual_disk
from qreplica.ui.storage.sections import AS_COUNTED, VIRTUAL_DISKS, Section


@page(VIRTUAL_DISKS + "/{name}", "Virtual disk")
async def virtual_disk_page(here: Looking, name: str) -> None:
    """Show a virtual disk."""
    section = Section(here, VIRTUAL_DISKS)

    @ui.refreshable
    def head(vd: dict[str, Any] | None = None) -> None:
        if vd is not None:
            heading(vd["name"])
            offer(here, virtual_disk.offered(here, vd))
            test_mounts.shown(here, [vd["test_mount"]] if vd["test_mount"] else [])
            virtual_disk.facts_of(here, vd)

    @ui.refreshable
    def used(vd: dict[str, Any] | None = None) -> None:
        if vd is not None:
            space.snapshot_bar(vd)

    with section.body, ui.card().classes("panel"):
        head()
    with section.body, ui.card().classes("panel") as of_backup:
        heading("Recovery points")
        points = recovery_points.RecoveryPoints(here, name)

        @ui.refreshable
        def mounts(found: list[dict[str, Any]] | None = None) -> None:
            test_mounts.shown(here, found or [])

        mounts()
        of_backup.visible = False
    with section.body, ui.card().classes("panel"):
        heading("Snapshots")
        used()
        if here.may(Role.OPERATOR):
            offer(here, [("Take a snapshot", partial(snapshots.take, here, name))])
        taken = snapshots.Snapshots(here)
    with section.body, ui.card().classes("panel"):
        heading("Attached to")
        if here.may(Role.ADMIN):
            offer(here, [("Attach to an iSCSI node", partial(luns.attach, here, vd=name))])
        attached = luns.Luns(here, "It is attached to no iSCSI node, so that no host finds it.")
    await section.keep_showing(
        partial(_look, here, name),
        vd=head.refresh,
        used=used.refresh,
        snapshots=taken.show,
        luns=attached.show,
        is_backup=of_backup.set_visibility,
        points=points.show,
        retention=points.show_rules,
        mounts=mounts.refresh,
    )


async def _look(here: Looking, name: str) -> dict[str, Any]:
    vd, taken, all_luns, mounts = await asyncio.gather(
        here.rest.get("virtual-disks", name, **AS_COUNTED),
        here.rest.get("snapshots", vd=name),
        here.rest.get("luns"),
        here.rest.get("test-mounts"),
    )
    vd["test_mount"] = next(({**one, "used": 0} for one in mounts if one["name"] == name), None)
    points: list[dict[str, Any]] = []
    retention: dict[str, Any] | None = None
    if is_backup := vd["type"] == "BACKUP":
        points, retention = await asyncio.gather(
            here.rest.get("recovery-points", name), here.rest.get("virtual-disks", name, "retention")
        )
    return {
        # Without what changes as hosts write.
        "vd": {part: value for part, value in vd.items() if part != "snapshot_used"},
        "used": vd,
        "snapshots": taken,
        "luns": [one for one in all_luns if one["vd"] == name],
        "is_backup": is_backup,
        "points": points,
        "retention": retention,
        "mounts": [{**one, "used": 0} for one in mounts if one["vd"] == name],
    }
