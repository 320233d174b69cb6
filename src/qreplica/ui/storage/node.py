"""What can be done with an iSCSI node."""

from functools import partial

from nicegui import ui

from qreplica.access.roles import Role
from qreplica.ui.dialogs import Offer, buttons, confirm_loss, dialog
from qreplica.ui.looking import Looking
from qreplica.ui.storage.admission import Admission, Chap
from qreplica.ui.storage.nodes import Node
from qreplica.ui.storage.sections import NODES


def offered(here: Looking, node: Node) -> list[Offer]:
    """Return what may be done with the node."""
    if not here.may(Role.ADMIN):
        return []
    may: list[Offer] = [
        ("Admitted initiators", partial(_initiators, here, node)),
        ("CHAP", partial(_chap, here, node)),
    ]
    if node["paired"]:
        may.append(("Reset the pairing", partial(_reset_pairing, here, node)))
    if node["for_replication"]:
        may.append(("Take it from its job", partial(_release, here, node)))
    return [*may, ("Delete", partial(_delete, here, node))]


def _initiators(here: Looking, node: Node) -> None:
    name = node["name"]
    with dialog(f"Whom {name} admits") as made:
        admission = Admission(open_to_all=node["open_to_all"], initiators=node["initiators"])
        ui.label("Hosts that are no longer admitted lose its disks.")
        buttons(
            here,
            made,
            "Save",
            lambda: here.rest.put("nodes", name, "initiators", body={"initiators": admission.initiators()}),
            f"Whom “{name}” admits was saved.",
            inputs=admission.inputs,
        )


def _chap(here: Looking, node: Node) -> None:
    name = node["name"]
    with dialog(f"CHAP of {name}") as made:
        asked = Chap(node["chap_user"] or "", node["mutual_user"])
        ui.label(
            "What is left empty is taken away: give every secret anew. Hosts and replication jobs that have the old "
            "one are refused at their next log-in."
        )
        buttons(
            here,
            made,
            "Save",
            lambda: here.rest.put("nodes", name, "chap", body=asked.body()),
            f"CHAP of “{name}” was saved.",
            inputs=asked.inputs,
        )


def _reset_pairing(here: Looking, node: Node) -> None:
    name = node["name"]
    confirm_loss(
        here,
        "Reset the pairing",
        f"The job that is paired with iSCSI node “{name}” is refused from now on; the next job that claims it pairs "
        "anew.",
        name,
        lambda: here.rest.delete("nodes", name, "pairing"),
        done=f"The pairing of “{name}” was reset.",
    )


def _release(here: Looking, node: Node) -> None:
    name = node["name"]
    confirm_loss(
        here,
        "Take it from its job",
        f"The job that holds the backup virtual disk of “{name}” is cut off, for when its subsystem is gone for good. "
        "What it has not committed is lost, and it must make a full copy to return; recovery points stay.",
        name,
        lambda: here.rest.delete("nodes", name, "claim"),
        done=f"“{name}” is free for another job.",
    )


def _delete(here: Looking, node: Node) -> None:
    name = node["name"]

    async def delete() -> None:
        await here.rest.delete("nodes", name)
        ui.navigate.to(NODES)

    confirm_loss(
        here,
        f"Delete {name}",
        f"Initiators no longer find iSCSI node “{name}”, and its CHAP and list of initiators are lost. It is refused "
        "while the node has LUNs.",
        name,
        delete,
        done=f"“{name}” was deleted.",
    )
