"""What a page shows, and goes on showing as it changes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from nicegui import ui

from qreplica.ui.looking import EVERY, Looking

T = TypeVar("T")


async def follow(
    here: Looking, ask: Callable[[], Awaitable[T]], show: Callable[[T], None], every: float = EVERY
) -> None:
    """Show what ``ask`` answers, and again whenever it answers something else, asked ``every`` so many seconds.

    Raises Refused the first time.
    """
    answer = await ask()

    @ui.refreshable
    def shown() -> None:
        show(answer)

    async def look() -> None:
        nonlocal answer
        new = await ask()
        if new != answer:
            answer = new
            shown.refresh()

    shown()
    here.keep_up(look, every)
