"""Whom an iSCSI node admits: initiator names, and CHAP."""

from collections.abc import Sequence
from typing import Any, Final

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement

_ALL: Final = "Every initiator"
_NAMED: Final = "Only these"


class Admission:
    """Asks which initiators to admit."""

    def __init__(self, *, open_to_all: bool, initiators: Sequence[str]) -> None:
        ui.label("Admitted initiators").classes("text-bold")
        self._who = ui.radio([_NAMED, _ALL], value=_ALL if open_to_all else _NAMED).props('inline aria-label="Admit"')
        self._names = ui.textarea("Initiator names, one a line", value="\n".join(initiators)).classes("full-width")
        self._names.props('autogrow hint="As the host tells it, such as iqn.1993-08.org.debian:01:host"')
        self._names.bind_visibility_from(self._who, "value", lambda one: one == _NAMED)
        self.inputs: dict[str, ValidationElement[Any]] = {"initiators": self._names}

    def initiators(self) -> list[str] | None:
        """Return the names, None for everybody."""
        return None if self._who.value == _ALL else str(self._names.value or "").split()


class Chap:
    """Asks what initiators must prove, and what the node proves to them."""

    def __init__(self, user: str | None, mutual: str | None) -> None:
        with ui.expansion("CHAP", value=user is not None).classes("full-width"):
            ui.label("Without a name none is asked for. A secret has 12 to 64 characters, and is never shown again.")
            given = {
                "chap_user": _name("CHAP name", user),
                "chap_secret": _secret("CHAP secret"),
                "mutual_user": _name("Name of mutual CHAP, by which the node proves itself", mutual),
                "mutual_secret": _secret("Secret of mutual CHAP"),
            }
        self.inputs: dict[str, ValidationElement[Any]] = {**given}

    def body(self) -> dict[str, str | None]:
        """Return what was given, as the API takes it."""
        return {name: one.value or None for name, one in self.inputs.items()}


def _name(label: str, value: str | None) -> ui.input:
    return ui.input(label, value=value or "").props("autocomplete=off").classes("full-width")


def _secret(label: str) -> ui.input:
    return ui.input(label, password=True).props("autocomplete=new-password").classes("full-width")
