"""Shows how far something is: a live bar on a terminal, plain lines elsewhere, nothing for who wants JSON."""

from dataclasses import dataclass
from typing import Protocol, Self

from rich import progress

from qreplica.cli import output

#: Percent between two lines where there is no terminal.
STEP_OF_LINES = 10


@dataclass(frozen=True, slots=True)
class Progress:
    """How far something is: ``name``, at ``step``, ``percent`` of the way; another ``run`` of it begins anew."""

    name: str
    step: str
    percent: float
    figures: str = ""
    run: object = None


class Display(Protocol):
    """What shows it, on stderr."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...

    def update(self, at: Progress, *, waiting: bool = False) -> None:
        """Show how far something is, and whether it waits there."""

    def remark(self, name: str, text: str) -> None:
        """Tell something beside."""


def display(*, as_json: bool) -> Display:
    """Return what suits whoever looks."""
    if as_json:
        return _Silent()
    return _Bar() if output.console(error=True).is_terminal else _Lines()


class _Silent:
    """Shows nothing: the JSON at the end is all that was asked for."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def update(self, at: Progress, *, waiting: bool = False) -> None:
        """Show nothing."""

    def remark(self, name: str, text: str) -> None:
        """Show nothing."""


class _Lines(_Silent):
    """One line for each step and each tenth of the way."""

    def __init__(self) -> None:
        self._last: tuple[object, ...] = ()

    def update(self, at: Progress, *, waiting: bool = False) -> None:  # noqa: ARG002 - why it waits is a remark
        """Print a line when there is something new to tell."""
        now = (at.run, at.step, int(at.percent) // STEP_OF_LINES)
        if now != self._last:
            self._last = now
            self._say(at.name, f"{at.step:<8} {at.percent:5.1f} %  {at.figures}".rstrip())

    def remark(self, name: str, text: str) -> None:
        """Print a line."""
        self._say(name, text)

    def _say(self, name: str, text: str) -> None:
        output.console(error=True).print(output.printable(f"{name}: {text}"), soft_wrap=True)


class _Bar:
    """A live progress bar."""

    def __init__(self) -> None:
        self._progress = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.TextColumn("{task.fields[step]:<8}", style="cyan", markup=False),
            progress.BarColumn(bar_width=None, complete_style="cyan", finished_style="green"),
            progress.TextColumn("{task.percentage:5.1f} %", markup=False),
            progress.TextColumn("{task.fields[figures]}", markup=False),
            console=output.console(error=True),
            expand=True,
            transient=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        self._task = self._progress.add_task("", total=100.0, step="", figures="")
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, at: Progress, *, waiting: bool = False) -> None:
        """Draw the bar."""
        self._progress.update(
            self._task,
            description=output.printable(at.name),
            completed=at.percent,
            step="waiting" if waiting else at.step,
            figures=at.figures,
        )

    def remark(self, name: str, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(output.printable(f"{name}: {text}"))
