"""A list of names and values."""

from collections.abc import Mapping

from nicegui import ui


def facts(given: Mapping[str, str]) -> None:
    """Show each value beside its name."""
    with ui.element("dl").classes("facts"):
        for name, value in given.items():
            with ui.element("dt"):
                ui.label(name)
            with ui.element("dd"):
                ui.label(value)
