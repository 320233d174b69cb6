"""A list whose entries can be operated on; on a narrow screen each is put under one another."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from nicegui import ui

from qreplica.ui.frame import chip
from qreplica.ui.menus import choice


class Operation(NamedTuple):
    """Something to do with an entry."""

    label: str
    begin: Callable[[], object]


@contextmanager
def entries(label: str) -> Iterator[None]:
    """Make a list of what the block adds by ``entry``."""
    with ui.element("ul").classes("entries").props(f'aria-label="{label}"'):
        yield


def entry(name: str, *facts: str, chips: tuple[str, ...] = (), wrong: str | None = None) -> ui.row:
    """Add an entry: its name, states and facts, what is ``wrong`` with it; return the place for its buttons."""
    with ui.element("li").classes("entry"):
        with ui.element("div").classes("entry-text"):
            with ui.row().classes("items-center"):
                ui.label(name).classes("text-bold")
                for one in chips:
                    chip(one)
            for fact in facts:
                ui.label(fact)
            if wrong:
                ui.label(wrong).classes("text-negative")
        return ui.row()


def operations(of: str, offered: list[Operation]) -> None:
    """Add the menu of what can be done with an entry."""
    button = ui.button("OP.").props("dense")
    button.props["aria-label"] = f"Operations of {of}"
    with button, ui.menu():
        for one in offered:
            choice(one.label, one.begin)
