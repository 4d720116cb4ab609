"""The page of the app: controls and pictures, and what happens when they are used.

Built on NiceGUI: its elements may be components of one's own, so that pointing and painting work by
mouse, touch and keyboard alike, while all that is known stays in Python. NiceGUI is imported when a
page is made, since it is an extra.
"""

from __future__ import annotations

import asyncio
import functools
import html
import itertools
import math
import pathlib
import re
from collections.abc import Callable
from typing import Any

from kerasgan.app import saved
from kerasgan.app.images import MOST_BYTES, SUFFIXES, Images, Opened, read_upload
from kerasgan.app.network import PIXELS, Network
from kerasgan.app.session import (
    NEED_POINT,
    NEED_TRUTH,
    TARGETS,
    Explained,
    Picture,
    Question,
    Session,
    Stroke,
)
from kerasgan.app.worker import Superseded, Worker
from kerasgan.errors import KerasganError
from kerasgan.report.texts import RULES, conservation_sentence

ASSETS = pathlib.Path(__file__).parent / "assets"
MOST_WINDOWS = 16
NO_RULE = "none"
THEMES = {"auto": None, "light": False, "dark": True}
WORDS = ("rule", "layer", "kind")
COLUMNS = ("relevance_in", "relevance_out", "bias", "stabiliser", "unsupported", "remainder")


def add_page(network: Network, images: Images, worker: Worker) -> None:
    """Tell NiceGUI of the page."""
    from nicegui import ui

    windows: set[Window] = set()

    @ui.page("/", title=f"{network.name} - kerasgan")
    def index() -> None:
        window = Window(network, images, worker)
        client = ui.context.client

        async def connect() -> None:
            if window in windows:
                return
            if len(windows) >= MOST_WINDOWS:
                window.refuse(f"{MOST_WINDOWS} windows are open, which is the most. Close one")
                return
            windows.add(window)
            with client:
                await window.begin()

        def leave() -> None:
            windows.discard(window)
            worker.forget(window.session)

        client.on_connect(connect)
        client.on_delete(leave)


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


class Window:
    """One page in one browser: its controls, and the session behind them."""

    def __init__(self, network: Network, images: Images, worker: Worker):
        self.network, self.images, self.worker = network, images, worker
        self.session = Session(network)
        self.picture: Picture | None = None
        self.found: list[Explained] = []
        self.point: tuple[float, float] | None = None
        self.place = -1
        self.works = 0
        self.counter = itertools.count()
        self._build()

    # --- The page ---

    def _build(self) -> None:
        from nicegui import ui

        ui.add_css((ASSETS / "app.css").read_text(encoding="utf-8"))
        self.dark = ui.dark_mode(None)
        with ui.element("header").classes("kg-top"):
            title = f"<h1>kerasgan <span>{html.escape(self.network.name)}</span></h1>"
            ui.html(title, sanitize=False)
            with ui.row().classes("kg-row"):
                ui.toggle(list(THEMES), value="auto", on_change=self._set_theme).props(
                    'dense no-caps toggle-text-color="kg" aria-label="Colours of the page"'
                )
        with ui.element("main").classes("kg-page"):
            with ui.element("aside").classes("kg-side").props('aria-label="Images"'):
                self._build_images()
            with ui.element("section").classes("kg-work").props('aria-label="Image"'):
                self._build_controls()
                self._build_pictures()
                self._build_table()
        with ui.element("footer").classes("kg-foot kg-soft"):
            ui.label("For research; not a medical device.")

    def _build_images(self) -> None:
        from nicegui import ui

        heading("Images")
        self.upload = ui.upload(
            label="Drop an image here",
            auto_upload=True,
            max_file_size=MOST_BYTES,
            on_upload=self._uploaded,
            on_rejected=lambda: self._say("This is no image file, or it is too large", bad=True),
        ).props(f'accept="{SUFFIXES}" flat bordered')
        pick = f"() => runMethod({self.upload.id}, 'pickFiles', [])"
        button = ui.button("Choose a file").props("outline dense no-caps")
        button.on("click", js_handler=pick)
        if len(self.images):
            self.search = ui.input("Search names", on_change=self._list).props(
                'dense outlined clearable debounce="200"'
            )
            self.names = ui.element("div").classes("kg-names")
            with ui.row().classes("kg-row"):
                ui.button("Previous", on_click=lambda: self._step(-1)).props("flat dense no-caps")
                ui.button("Next", on_click=lambda: self._step(1)).props("flat dense no-caps")
            self.count = ui.label().classes("kg-soft")
            self._list()

    def _build_controls(self) -> None:
        from nicegui import ui

        with ui.row().classes("kg-row"):
            self.target = ui.select(
                TARGETS, value="mask", label="Explain", on_change=self._ask
            ).props("dense outlined options-dense")
            self.rule = ui.select(
                self.network.rules, value=self.network.rules[0], label="Rule", on_change=self._ask
            ).props("dense outlined options-dense")
            self.second = ui.select(
                [NO_RULE, *self.network.rules],
                value=NO_RULE,
                label="Second rule, beside it",
                on_change=self._ask,
            ).props("dense outlined options-dense")
            self.layer = ui.select(
                {PIXELS: "pixels"}, value=PIXELS, label="Relevance of", on_change=self._show
            ).props("dense outlined options-dense")
        with ui.row().classes("kg-row"):
            self.mode = ui.toggle(
                {"point": "Point", "paint": "Paint over"}, value="point", on_change=self._set_mode
            ).props('dense no-caps toggle-text-color="kg" aria-label="What a click does"')
            self.brush = (
                ui.slider(min=1, max=15, value=4, on_change=self._set_mode)
                .classes("kg-brush")
                .props('aria-label="Width of the brush"')
            )
            self.undo = ui.button("Undo", on_click=lambda: self._change(self.session.undo))
            self.restore = ui.button("Restore", on_click=lambda: self._change(self.session.restore))
            self.outlined = ui.checkbox("Outlines", value=True, on_change=self._show)
            self.probable = ui.checkbox("Probability", value=False, on_change=self._show)
            self.save = ui.button("Save as a page", on_click=self._save)
            for button in (self.undo, self.restore, self.save):
                button.props("outline dense no-caps").classes("q-px-sm")
            for element in (self.brush, self.undo, self.restore):
                element.bind_visibility_from(self.mode, "value", value="paint")

    def _build_pictures(self) -> None:
        from nicegui import ui

        self.status = ui.label("Choose an image.").classes("kg-status")
        self.status.props('role="status" aria-live="polite"')
        self.note = ui.label().classes("kg-note")
        self.frames: list[Any] = []
        self.captions: list[Any] = []
        self.figures: list[Any] = []
        with ui.element("div").classes("kg-pictures"):
            for label in ("Image and mask", "Relevance", "Relevance by the second rule"):
                with ui.element("figure") as figure:
                    frame = picture_element()()
                    frame.show(label=label, hint="No image yet", ratio="4 / 3", layers=[])
                    frame.on("point", self._pointed)
                    frame.on("stroke", self._painted)
                    with ui.element("figcaption"):
                        caption = ui.html("", sanitize=False)
                self.frames.append(frame)
                self.captions.append(caption)
                self.figures.append(figure)
        self.figures[2].set_visibility(False)
        self._set_mode()

    def _build_table(self) -> None:
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

    # --- What is done ---

    async def begin(self) -> None:
        """Open the first image, if there is a folder."""
        if len(self.images) and self.picture is None:
            await self._choose(0)

    def refuse(self, text: str) -> None:
        """Say why this window does nothing."""
        self._say(text, bad=True)

    async def _choose(self, place: int) -> None:
        before, self.place = self.place, place
        self._list()
        opened = await self._open(functools.partial(self.images.open, place))
        if not opened and self.place == place:
            self.place = before
            self._list()

    async def _step(self, by: int) -> None:
        await self._choose(min(max(self.place + by, 0), len(self.images) - 1))

    async def _uploaded(self, event: Any) -> None:
        content, name = await event.file.read(), event.file.name
        self.upload.reset()
        if await self._open(lambda: read_upload(content, name, self.network.channels)):
            self.place = -1
            self._list()

    async def _open(self, read: Callable[[], Opened]) -> bool:
        picture = await self._do(lambda: self.session.open(read()), self.session)
        if picture is None:
            return False
        self.picture, self.found, self.point = picture, [], None
        self._show()
        if self.target.value == "mask":
            await self._ask()
        else:
            self.target.set_value("mask")  # which asks
        return True

    async def _change(self, change: Callable[[], Picture]) -> None:
        """Paint or undo: every one of these is done, in its order."""
        picture = await self._do(change, (self.session, next(self.counter)))
        if picture is not None:
            self.picture, self.found = picture, []
            self._show()
            await self._ask()

    async def _pointed(self, event: Any) -> None:
        place = numbers_of(event.args, 2)
        if place is None or self.picture is None:
            return
        self.point = (place[0], place[1])
        if self.target.value == "mask":
            self.target.set_value("pixel")  # which asks
        else:
            await self._ask()
        self._show()

    async def _painted(self, event: Any) -> None:
        given = event.args if isinstance(event.args, dict) else {}
        points = given.get("points") or []
        places = [numbers_of(point, 2) for point in points] if isinstance(points, list) else []
        radius = numbers_of([given.get("radius")], 1)
        if not places or None in places or radius is None:
            return
        stroke = Stroke(tuple(places), radius[0])  # type: ignore[arg-type]
        await self._change(lambda: self.session.paint(stroke))

    async def _ask(self) -> None:
        if self.picture is None:
            return
        if not self._can(self.target.value):
            self.found = []
            self._show()
            return
        rules = [self.rule.value, self.second.value]
        rules = [rule for rule in dict.fromkeys(rules) if rule != NO_RULE]
        question = Question(self.target.value, self.point, tuple(rules))
        found = await self._do(lambda: self.session.explain(question), self.session)
        if found is not None:
            self.found = found
            self._offer_layers()
            self._show()

    def _can(self, target: str) -> bool:
        """Say whether a target can be asked for, and else what is missing."""
        if target in NEED_TRUTH and not (self.picture and self.picture.has_truth):
            self._say("There is no true mask of this image, so errors are not known.", bad=True)
            return False
        if target not in ("pixel", *NEED_TRUTH) and self.picture and not self.picture.components:
            self._say("The mask of this image is empty. Point at a pixel to explain it.")
            return False
        if target in NEED_POINT and self.point is None:
            self._say("Point at a place of the image.")
            return False
        return True

    async def _save(self) -> None:
        if self.picture is None:
            self._say("Choose an image first.", bad=True)
            return
        from nicegui import ui

        seen = self.picture, self.found, self.point, dict(self.network.layers)
        write = functools.partial(saved.write_page, self.network.name, *seen)
        text = await self._do(write, (self.session, "save"))
        if text is not None:
            name = re.sub(r"[^\w.-]+", "_", self.picture.name)[-60:].strip("._") or "image"
            ui.download.content(text.encode("utf-8"), f"{name}.html", "text/html")

    async def _do(self, work: Callable[[], Any], key: Any) -> Any:
        """Have something done by the worker; None if it cannot be, or is not wanted any more."""
        self.works += 1
        self.status.classes(add="busy")
        self.status.set_text("Computing …")
        try:
            return await asyncio.wrap_future(self.worker.ask(key, work))
        except Superseded:
            return None
        except KerasganError as error:
            self._say(str(error), bad=True)
            return None
        except Exception as error:  # of TensorFlow, such as too little memory
            self._say(f"This cannot be computed: {str(error).splitlines()[0][:300]}", bad=True)
            return None
        finally:
            self.works -= 1
            if not self.works:
                self.status.classes(remove="busy")

    # --- What is shown ---

    def _say(self, text: str, bad: bool = False) -> None:
        self.status.set_text(text)
        if bad:
            from nicegui import ui

            ui.notify(text[:300], type="warning", close_button="Close")

    def _set_theme(self, event: Any) -> None:
        self.dark.set_value(THEMES[event.value])

    def _set_mode(self) -> None:
        for frame in self.frames:
            frame.show(mode=self.mode.value, radius=self.brush.value / 200)

    def _list(self) -> None:
        from nicegui import ui

        if not len(self.images):
            return
        found = self.images.find(self.search.value or "")
        self.names.clear()
        with self.names:
            for place in found:
                button = ui.element("button").props('type="button"')
                with button:
                    ui.label(self.images.names[place])
                button.props(f'aria-current="{str(place == self.place).lower()}"')
                button.on("click", functools.partial(self._choose, place))
        here = f"{self.place + 1} of " if self.place >= 0 else ""
        more = " Type to find more." if len(found) < len(self.images) else ""
        self.count.set_text(
            f"Image {here}{len(self.images)}.{more}"
            if here
            else f"{len(self.images)} images.{more}"
        )

    def _offer_layers(self) -> None:
        options = {PIXELS: "pixels"}
        parts = self.network.layers
        options.update((name, f"{parts[name]} ({name})") for name in self.found[0].maps if name)
        if options != self.layer.options:
            value = self.layer.value if self.layer.value in options else PIXELS
            self.layer.set_options(options, value=value)

    def _show(self) -> None:
        picture = self.picture
        if picture is None:
            return
        ratio = f"{picture.shown[1]} / {picture.shown[0]}"
        point = None if self.point is None else list(self.point)
        common = {"photo": picture.photo, "ratio": ratio, "point": point}
        layers = []
        if self.probable.value:
            layers.append({"key": "probability", "src": picture.probability})
        if self.outlined.value:
            if picture.before:
                layers.append({"key": "before", "src": picture.before, "opacity": 0.6})
            layers.append({"key": "outlines", "src": picture.outlines})
        self.frames[0].show(**common, grey=self.probable.value, layers=layers)
        self.captions[0].set_content(mask_caption(picture, self.probable.value))
        self.note.set_text(picture.note)
        self.figures[2].set_visibility(len(self.found) > 1)
        for number in (0, 1):
            self._show_relevance(number, common)
        if self.found:
            self.status.set_text(" ".join(sentences_of(picture, self.found)))
            books = [f"{one.rule}: {conservation_sentence(one.books)}" for one in self.found]
            self.books.set_text("\n".join(books))
            self.table.rows = table_rows(self.found)
            self.table.update()

    def _show_relevance(self, number: int, common: dict[str, Any]) -> None:
        frame, caption = self.frames[number + 1], self.captions[number + 1]
        if number >= len(self.found):
            frame.show(**common, grey=True, layers=[])
            caption.set_content("")
            return
        found = self.found[number]
        place = self.layer.value if self.layer.value in found.maps else PIXELS
        layers = [{"key": "heat", "src": found.over(place), "pixelated": True}]
        if self.outlined.value:
            layers.append({"key": "region", "src": found.region})
        frame.show(**common, grey=True, layers=layers)
        caption.set_content(relevance_caption(found, place, self.network.layers))


def heading(text: str) -> None:
    """A heading of the page."""
    from nicegui import ui

    ui.html(f"<h2>{html.escape(text)}</h2>", sanitize=False)


def numbers_of(given: Any, count: int) -> list[float] | None:
    """The numbers that a browser sent, if they are as many and are numbers."""
    if not isinstance(given, list) or len(given) != count:
        return None
    if not all(isinstance(part, (int, float)) for part in given):
        return None
    return [float(part) for part in given]


def mask_caption(picture: Picture, probable: bool) -> str:
    """What stands below the first picture, as HTML."""
    keys = '<span class="kg-key prediction">predicted mask</span>'
    if picture.has_truth:
        keys = f'<span class="kg-key">true mask</span>{keys}'
    if picture.before:
        keys += '<span class="kg-key explained">mask before</span>'
    scale = '<div class="kg-scale probability">0<span></span>1 probability</div>'
    return (
        f"<strong>{html.escape(picture.name)}</strong><div>{keys}</div>{scale if probable else ''}"
    )


def relevance_caption(found: Explained, place: str, layers: dict[str, str]) -> str:
    """What stands below a picture of relevance, as HTML."""
    limit = found.map_at(place).limit
    where = f"layer {layers.get(place, '')} ({place})" if place else "pixels"
    ends = f"−{limit:.3g}<span></span>+{limit:.3g}" if limit else "no relevance"
    return (
        f"<strong>{html.escape(found.rule)}</strong>, {html.escape(where)}"
        f'<div class="kg-scale">{ends}</div>'
        f'<div class="kg-soft">{html.escape(RULES.get(found.rule, ""))}</div>'
        '<span class="kg-key explained">what is explained</span>'
    )


def sentences_of(picture: Picture, found: list[Explained]) -> list[str]:
    """What the pictures show, in words."""
    several = "s" if picture.components != 1 else ""
    lines = [
        f"The mask covers {picture.area:.1%} of the image, in {picture.components} "
        f"component{several}."
    ]
    if picture.before:
        lines.append(f"Before anything was painted over, it covered {picture.area_before:.1%}.")
    first = found[0]
    lines.append(f"Explained: {first.text}, a sum of logits of {first.value:.3g}.")
    if first.probability is not None:
        lines.append(f"Probability at the point: {first.probability:.1%}.")
    for one in found:
        inside = f"{one.inside:.0%} of the relevance lies inside what is explained, "
        inside += f"which is {one.share:.1%} of the image "
        is_pixel = one.question.target == "pixel"
        lines.append(f"By {one.rule}: {'' if is_pixel else inside}({one.seconds:.1f} s).")
    return [line.replace("%", " %") for line in lines]


def table_rows(found: list[Explained]) -> list[dict[str, Any]]:
    """The conservation tables as the page shows them, from the logits to the image."""
    rows: list[dict[str, Any]] = []
    for one in found:
        for row in one.ledger.to_dict("records"):
            numbers = {name: _rounded(row[name]) for name in COLUMNS}
            about = {"rule": one.rule, "layer": row["layer"], "kind": row["kind"]}
            rows.append({"number": len(rows), **about, **numbers})
    return rows


def _rounded(value: float) -> float | None:
    """A number to four digits; None for what is none, as where a rule keeps no books."""
    return float(f"{value:.4g}") if math.isfinite(value) else None
