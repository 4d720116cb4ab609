"""The elements of the page, and where they stand; what happens when they are used is in `page.py`.

Built on NiceGUI: its elements may be components of one's own, so that pointing and painting work by
mouse, touch and keyboard alike. NiceGUI is imported when a page is made, since it is an extra.
"""

from __future__ import annotations

import functools
import html
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kerasgan.app.images import MOST_BYTES, SUFFIXES
from kerasgan.app.network import PIXELS, Network
from kerasgan.app.question import MOST_VIEWS, TARGETS
from kerasgan.app.texts import COLUMNS, WORDS, differences_of

ASSETS = pathlib.Path(__file__).parent / "assets"
THEMES = {"auto": None, "light": False, "dark": True}
NOTHING, OTHER_MODEL, BEFORE = " nothing", " model", " before"
"""What may stand beside an explanation, besides another rule. No rule has such a name."""
AMONG_NAMES = """(event) => {
  const names = [...event.currentTarget.querySelectorAll("button")];
  const at = names.indexOf(document.activeElement);
  const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: names.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  names[to]?.focus();
}"""
"""The list of names is one stop of the tabulator key: a step for each would be a long way."""


@functools.cache
def picture_element() -> type:
    """The element that shows a picture with layers and tells where it is pointed or painted."""
    from nicegui import ui

    class PictureElement(ui.element, component=str(ASSETS / "picture.js")):  # type: ignore[call-arg]
        """See `assets/picture.js`."""

        def show(self, **props: Any) -> None:
            self.props.update(props)
            self.update()

    return PictureElement


@functools.cache
def choice_element() -> type:
    """The element in which one of several options is chosen."""
    from nicegui import ui

    class ChoiceElement(ui.element, component=str(ASSETS / "choice.js")):  # type: ignore[call-arg]
        """See `assets/choice.js`. `value` is one of `options`, whatever a browser sends."""

        def __init__(self, label: str, options: Mapping[str, str], on_change: Callable[[], Any]):
            super().__init__()
            self.options, self.value = dict(options), next(iter(options))
            self.props["label"] = label
            self._show()

            async def choose(event: Any) -> None:
                if isinstance(event.args, str) and event.args in self.options:
                    self.set_value(event.args)
                    changed = on_change()
                    if changed is not None:
                        await changed
                else:
                    self._show()

            self.on("choose", choose)

        def set_value(self, value: str) -> None:
            """Choose, as if by hand, but tell nobody."""
            self.value = value
            self._show()

        def set_options(self, options: Mapping[str, str]) -> None:
            """Offer others; what is not among them any more is not chosen any more."""
            if self.options != dict(options):
                self.options = dict(options)
                self.value = self.value if self.value in options else next(iter(options))
                self._show()

        def _show(self) -> None:
            self.props.update(value=self.value, options=list(self.options.items()))
            self.update()

    return ChoiceElement


class Layout:
    """The elements of a page.

    Args:
        networks: The models.
        listed: Whether there is a folder of images.
        window: Has the methods that are called when an element is used.
    """

    def __init__(self, networks: Sequence[Network], listed: bool, window: Any):
        from nicegui import ui

        self.networks, self.window = networks, window
        ui.add_css((ASSETS / "app.css").read_text(encoding="utf-8"))
        self.dark = ui.dark_mode(None)
        names = " and ".join(network.name for network in networks)
        with ui.element("header").classes("kg-top"):
            ui.html(f"<h1>kerasgan <span>{html.escape(names)}</span></h1>", sanitize=False)
            ui.toggle(list(THEMES), value="auto", on_change=self._set_theme).props(
                'dense no-caps toggle-text-color="kg" role="group" aria-label="Colours of the page"'
            )
        with ui.element("div").classes("kg-page"):  # within the main landmark of NiceGUI
            with ui.element("section").classes("kg-side").props('aria-label="Images"'):
                self._add_images(listed)
            with ui.element("section").classes("kg-work").props('aria-label="Explanation"'):
                self._add_controls()
                self._add_pictures()
                self._add_table()
        with ui.element("footer").classes("kg-foot kg-soft"):
            ui.label("For research; not a medical device.")

    def _set_theme(self, event: Any) -> None:
        self.dark.set_value(THEMES[event.value])

    def _add_images(self, listed: bool) -> None:
        from nicegui import ui

        _heading("Images")
        self.upload = ui.upload(
            label="Drop an image here",
            auto_upload=True,
            max_file_size=MOST_BYTES,
            on_upload=self.window.uploaded,
            on_rejected=self.window.rejected,
        ).props(f'accept="{SUFFIXES}" flat bordered')
        pick = f"() => runMethod({self.upload.id}, 'pickFiles', [])"
        button = ui.button("Choose a file").props("outline dense no-caps")
        button.on("click", js_handler=pick)
        if listed:
            self.search = ui.input("Search names", on_change=self.window.list_images).props(
                'dense outlined clearable debounce="200"'
            )
            self.names = ui.element("div").classes("kg-names").props('role="group"')
            self.names.props('aria-label="Names. Arrow keys move among them"')
            self.names.on("keydown", js_handler=AMONG_NAMES)
            with ui.row().classes("kg-row"):
                for text, by in (("Previous", -1), ("Next", 1)):
                    step = functools.partial(self.window.step, by)
                    ui.button(text, on_click=step).props("flat dense no-caps")
            self.count = ui.label().classes("kg-soft")

    def _add_controls(self) -> None:
        from nicegui import ui

        choice, ask = choice_element(), self.window.ask
        first = self.networks[0]
        _heading("Explanation")
        with ui.element("div").classes("kg-row"):
            if len(self.networks) > 1:
                names = {str(index): each.name for index, each in enumerate(self.networks)}
                self.model = choice("Model", names, self.window.turn)
            self.target = choice("Explain", TARGETS, ask)
            self.rule = choice("Rule", {rule: rule for rule in first.rules}, ask)
            self.beside = choice("Beside it", {NOTHING: "nothing"}, self.window.set_beside)
            self.layer = choice("Relevance of", {PIXELS: "pixels"}, self.window.show)
        self.offer_beside(False)
        with ui.row().classes("kg-row"):
            self.mode = ui.toggle(
                {"point": "Point", "paint": "Paint over"},
                value="point",
                on_change=self.set_mode,
            ).props(
                'dense no-caps toggle-text-color="kg" role="group" aria-label="What a click does"'
            )
            self.brush = (
                ui.slider(min=1, max=15, value=4, on_change=self.set_mode)
                .classes("kg-brush")
                .props('aria-label="Width of the brush"')
            )
            self.undo = ui.button("Undo", on_click=self.window.undo)
            self.restore = ui.button("Restore", on_click=self.window.restore)
            show = self.window.show
            self.outlined = ui.checkbox("Outlines", value=True, on_change=show)
            self.probable = ui.checkbox("Probability", value=False, on_change=show)
            self.shared = ui.checkbox("One scale", value=False, on_change=show)
            self.shared.set_visibility(False)
            self.save = ui.button("Save as a page", on_click=self.window.save)
            for button in (self.undo, self.restore, self.save):
                button.props("outline dense no-caps").classes("q-px-sm")
            for element in (self.brush, self.undo, self.restore):
                element.bind_visibility_from(self.mode, "value", value="paint")
        for line in differences_of(self.networks):
            ui.label(line).classes("kg-soft")

    def _add_pictures(self) -> None:
        from nicegui import ui

        self.status = ui.label("Choose an image.").classes("kg-status")
        self.status.props('role="status" aria-live="polite"')
        self.clock = ui.label().classes("kg-soft kg-clock").props('aria-hidden="true"')
        self.note = ui.label().classes("kg-note")
        self.masks: list[Any] = []
        self.maps: list[Any] = []
        self.captions: dict[Any, Any] = {}
        self.figures: dict[Any, Any] = {}
        self.pictures = ui.element("div").classes("kg-pictures")
        with self.pictures:
            for index in range(MOST_VIEWS):
                kinds = ((self.masks, "Image and mask"), (self.maps, "Relevance"))
                for frames, label in kinds:
                    frames.append(self._add_picture(f"{label}{', second' if index else ''}"))
        self.set_mode()
        for frame in (self.masks[1], self.maps[1]):
            self.figures[frame].set_visibility(False)

    def _add_picture(self, label: str) -> Any:
        from nicegui import ui

        with ui.element("figure") as figure:
            frame = picture_element()()
            frame.show(label=label, hint="No image yet", ratio="4 / 3", layers=[])
            frame.on("point", self.window.pointed)
            frame.on("stroke", self.window.painted)
            with ui.element("figcaption"):
                self.captions[frame] = ui.html("", sanitize=False)
        self.figures[frame] = figure
        return frame

    def _add_table(self) -> None:
        from nicegui import ui

        self.books = ui.label().classes("kg-soft kg-books")
        with ui.expansion("Conservation table: where relevance went, layer by layer"):
            names = {name: name.replace("_", " ").capitalize() for name in (*WORDS, *COLUMNS)}
            columns = [
                {
                    "name": name,
                    "label": label,
                    "field": name,
                    "align": "left" if name in WORDS else "right",
                    "sortable": True,
                }
                for name, label in names.items()
            ]
            self.table = ui.table(columns=columns, rows=[], row_key="number", pagination=15)
            self.table.props("dense flat")

    def set_mode(self) -> None:
        """Tell all pictures what a click does."""
        for frame in (*self.masks, *self.maps):
            frame.show(mode=self.mode.value, radius=self.brush.value / 200)

    def offer_beside(self, painted: bool) -> None:
        """Offer what can stand beside an explanation."""
        options = {NOTHING: "nothing"}
        if len(self.networks) > 1:
            options[OTHER_MODEL] = "the other model"
        if painted:
            options[BEFORE] = "before painting"
        options.update((rule, f"rule {rule}") for rule in self.networks[0].rules)
        self.beside.set_options(options)


def _heading(text: str) -> None:
    from nicegui import ui

    ui.html(f"<h2>{html.escape(text)}</h2>", sanitize=False)
