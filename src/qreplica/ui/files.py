"""Choosing a file in the browser."""

from collections.abc import Callable

from nicegui import events, ui

from qreplica.ui.looking import tell

_NONE = "No file is chosen."


class ChosenFile:
    """A button that browses for a file of at most ``largest`` bytes; ``content`` is None until one was chosen."""

    def __init__(self, label: str, largest: int, too_large: str, chosen: Callable[[], object]) -> None:
        self.content: bytes | None = None
        self._chosen = chosen
        # Quasar's own box for it can be named by no label.
        self._browser = ui.upload(
            auto_upload=True,
            on_upload=self._keep,
            on_rejected=lambda: tell(too_large, wrong=True),
            max_file_size=largest,
        ).classes("hidden")
        with ui.row().classes("items-center"):
            browse = ui.button(label, icon="folder_open").props("outline")
            self._name = ui.label(_NONE)
        browse.on("click", js_handler=f"() => runMethod({self._browser.id}, 'pickFiles', [])")

    async def _keep(self, given: events.UploadEventArguments) -> None:
        self.content = await given.file.read()
        self._name.text = given.file.name
        self._chosen()

    def clear(self) -> None:
        """Forget the file."""
        self.content = None
        self._name.text = _NONE
        self._browser.reset()
