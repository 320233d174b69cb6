"""Menus that assistive technology knows as such."""

from collections.abc import Callable

from nicegui import ui

#: What an entry of a menu is; Quasar calls it an item of a list.
ENTRY = "role=menuitem"


def choice(label: str, act: Callable[[], object]) -> None:
    """Add an entry to the menu."""
    ui.menu_item(label, act).props(ENTRY)
