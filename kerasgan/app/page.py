"""The page of the app: what happens when its controls and pictures are used.

NiceGUI is imported when a page is made, since it is an extra. All that is known stays in Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kerasgan.app import saved
from kerasgan.app.images import Images, Opened, read_upload
from kerasgan.app.layout import BEFORE, NOTHING, OTHER_MODEL, Layout
from kerasgan.app.network import PIXELS, Network
from kerasgan.app.painting import Stroke
from kerasgan.app.prepare import Preparer
from kerasgan.app.question import NEED_POINT, NEED_TRUTH, Question, View
from kerasgan.app.session import Explained, Picture, Session, Unexplained, scales_of
from kerasgan.app.texts import (
    layer_options,
    mask_caption,
    no_relevance_caption,
    preparing_sentence,
    relevance_caption,
    sentences_of,
    table_rows,
)
from kerasgan.app.worker import Superseded, Worker
from kerasgan.errors import KerasganError
from kerasgan.report.texts import conservation_sentence

MOST_WINDOWS = 16
AHEAD = ("epsilon", "z-plus")
"""Rules that are made ready before they are asked for, where there is time."""


def add_page(
    networks: Sequence[Network], images: Images, worker: Worker, preparer: Preparer
) -> None:
    """Tell NiceGUI of the page."""
    from nicegui import ui

    windows: set[Window] = set()
    title = " and ".join(network.name for network in networks)

    @ui.page("/", title=f"{title} - kerasgan")
    def index() -> None:
        window = Window(networks, images, worker, preparer)
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
            for network, rule in itertools.product(networks, AHEAD):
                preparer.offer(network, rule)

        def leave() -> None:
            windows.discard(window)
            worker.forget(window.session)

        client.on_connect(connect)
        client.on_delete(leave)


class Window:
    """One page in one browser: its controls, and the session behind them."""

    def __init__(
        self, networks: Sequence[Network], images: Images, worker: Worker, preparer: Preparer
    ):
        self.networks, self.images = list(networks), images
        self.worker, self.preparer = worker, preparer
        self.session = Session(*networks)
        self.picture: Picture | None = None
        self.found: list[Explained | Unexplained] = []
        self.asked: Question | None = None
        self.point: tuple[float, float] | None = None
        self.place = self.opened = -1
        self.chosen = 0
        self.listed: dict[int, Any] = {}
        self.works = 0
        self.counter = itertools.count()
        self.layout = Layout(self.networks, len(images) > 0, self)
        self.list_images()
        if len(self.networks) > 1:
            self.layout.beside.set_value(OTHER_MODEL)
            self.layout.shared.set_value(True)

    # --- What is done ---

    async def begin(self) -> None:
        """Open the first image, if there is a folder."""
        if len(self.images) and self.picture is None:
            await self._choose(0)

    def refuse(self, text: str) -> None:
        """Say why this window does nothing."""
        self._say(text, bad=True)

    def rejected(self) -> None:
        """Say why a file was not taken."""
        self._say("This is no image file, or it is too large", bad=True)

    async def step(self, by: int) -> None:
        """Open the next image, or the one before."""
        await self._choose(min(max(self.place + by, 0), len(self.images) - 1))

    async def uploaded(self, event: Any) -> None:
        """Open an image that was dropped on the page."""
        content, name = await event.file.read(), event.file.name
        self.layout.upload.reset()
        channels = max(network.channels for network in self.networks)
        if await self._open(lambda: read_upload(content, name, channels)):
            self.place = -1
            self.list_images()

    async def undo(self) -> None:
        """Take the last stroke back."""
        await self._change(self.session.undo)

    async def restore(self) -> None:
        """Take all strokes back."""
        await self._change(self.session.restore)

    async def pointed(self, event: Any) -> None:
        """Explain the place that was pointed at."""
        point = numbers_of(event.args, 2)
        if point is None or self.picture is None:
            return
        self.point = (point[0], point[1])
        if self.layout.target.value == "mask":
            self.layout.target.set_value("pixel")
        self.show()
        await self.ask()

    async def painted(self, event: Any) -> None:
        """Paint a stroke over the image."""
        given = event.args if isinstance(event.args, dict) else {}
        points = given.get("points") or []
        places = [numbers_of(point, 2) for point in points] if isinstance(points, list) else []
        radius = numbers_of([given.get("radius")], 1)
        if not places or None in places or radius is None:
            return
        stroke = Stroke(tuple(places), radius[0])  # type: ignore[arg-type]
        await self._change(lambda: self.session.paint(stroke))

    async def turn(self) -> None:
        """Look at the other of two models first."""
        self.found = []
        self.show()
        await self.ask()

    async def set_beside(self) -> None:
        """Show something else beside; maps of one unit on one scale, those of two rules not."""
        self.layout.shared.set_value(self.layout.beside.value in (OTHER_MODEL, BEFORE))
        await self.ask()

    async def ask(self) -> None:
        """Have explained what is chosen."""
        if self.picture is None:
            return
        target = self.layout.target.value
        if not self._can(target):
            self.found, self.asked = [], None
            self.show()
            return
        question = self.asked = Question(target, self.point, self._views())
        if not await self._prepare(question):
            return
        explained = await self._do(lambda: self.session.explain(question), self.session)
        if explained is not None and question is self.asked:
            self.found = explained
            first = self._explained()[0]
            self.layout.layer.set_options(layer_options(first.maps, first.parts))
            self.show()

    async def save(self) -> None:
        """Download what is seen as one page."""
        if self.picture is None:
            self._say("Choose an image first.", bad=True)
            return
        from nicegui import ui

        shared = bool(self.layout.shared.value)
        seen = self.picture, self._views(), list(self.found), self.point, shared
        write = functools.partial(saved.write_page, *seen)
        text = await self._do(write, (self.session, "save"))
        if text is not None:
            self._tell()
            name = re.sub(r"[^\w.-]+", "_", self.picture.name)[-60:].strip("._") or "image"
            ui.download.content(text.encode("utf-8"), f"{name}.html", "text/html")

    async def _choose(self, place: int) -> None:
        self.place, self.chosen = place, self.chosen + 1
        choice = self.chosen
        self.list_images()
        opened = await self._open(functools.partial(self.images.open, place), place)
        if not opened and choice == self.chosen:  # else a later choice says what is listed
            self.place = self.opened
            self.list_images()

    async def _open(self, read: Callable[[], Opened], place: int = -1) -> bool:
        self.asked = None
        picture = await self._do(lambda: self.session.open(read()), self.session)
        if picture is None:
            return False
        self.picture, self.found, self.point, self.opened = picture, [], None, place
        self.layout.target.set_value("mask")
        self._offer_beside()
        self.show()
        await self.ask()
        return True

    async def _change(self, change: Callable[[], Picture]) -> None:
        """Paint or undo: every one of these is done, in its order."""
        picture = await self._do(change, (self.session, next(self.counter)))
        if picture is not None:
            self.picture, self.found = picture, []
            self._offer_beside()
            self.show()
            await self.ask()

    def _offer_beside(self) -> None:
        self.layout.offer_beside(bool(self.picture and self.picture.before))

    def _models(self) -> list[int]:
        """The places of the models that are seen, the chosen one first."""
        if len(self.networks) < 2:
            return [0]
        chosen = int(self.layout.model.value)
        return [chosen, 1 - chosen] if self.layout.beside.value == OTHER_MODEL else [chosen]

    def _views(self) -> tuple[View, ...]:
        rule, beside = self.layout.rule.value, self.layout.beside.value
        first, *others = (View(model, rule) for model in self._models())
        if beside == BEFORE:
            others = [first._replace(before=True)]
        elif beside not in (NOTHING, OTHER_MODEL, rule):
            others = [first._replace(rule=beside)]
        return (first, *others)

    def _can(self, target: str) -> bool:
        """Say whether a target can be asked for, and else what is missing."""
        picture = self.picture
        assert picture is not None
        if target in NEED_TRUTH and not picture.has_truth:
            self._say("There is no true mask of this image, so errors are not known.", bad=True)
            return False
        views = self._views()
        masks = [(picture.before if v.before else picture.masks)[v.model] for v in views]
        some = any(mask.components for mask in masks)
        if target not in ("pixel", *NEED_TRUTH) and not some:
            self._say("The mask of this image is empty. Point at a pixel to explain it.")
            self.layout.target.set_value("pixel")
            return False
        if target in NEED_POINT and self.point is None:
            self._say("Point at a place of the image.")
            return False
        return True

    async def _prepare(self, question: Question) -> bool:
        """Have all rules of a question made ready; False if one is not wanted any more."""
        for view in question.views:
            network = self.networks[view.model]
            if network.is_ready(view.rule):
                continue
            try:
                future = asyncio.wrap_future(self.preparer.ask(network, view.rule))
                with self._busy():
                    several = len(self.networks) > 1
                    seconds = self.preparer.seconds.get(network)
                    self._say(preparing_sentence(network, view.rule, several, seconds))
                    for passed in itertools.count():
                        if future.done() or question is not self.asked:
                            break
                        self.layout.clock.set_text(f"{passed} s" if passed else "")
                        await asyncio.wait([future], timeout=1)
                if question is not self.asked:
                    return False
                future.result()
            except Exception as error:
                self._fail(error)
                return False
        return question is self.asked

    async def _do(self, work: Callable[[], Any], key: Any) -> Any:
        """Have something done by the worker; None if it cannot be, or is not wanted any more."""
        with self._busy():
            self.layout.status.set_text("Computing …")
            try:
                return await asyncio.wrap_future(self.worker.ask(key, work))
            except Superseded:
                return None
            except Exception as error:
                self._fail(error)
                return None

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """Show that something is computed."""
        self.works += 1
        self.layout.status.classes(add="busy")
        try:
            yield
        finally:
            self.works -= 1
            self.layout.clock.set_text("")
            if not self.works:
                self.layout.status.classes(remove="busy")

    # --- What is shown ---

    def _say(self, text: str, bad: bool = False) -> None:
        self.layout.status.set_text(text)
        if bad:
            from nicegui import ui

            ui.notify(text[:300], type="warning", close_button="Close")

    def _fail(self, error: Exception) -> None:
        """Say why something was not done: an error of kerasgan, or of TensorFlow, as of memory."""
        if isinstance(error, KerasganError):
            self._say(str(error), bad=True)
        else:
            lines = str(error).splitlines() or [type(error).__name__]
            self._say(f"This cannot be computed: {lines[0][:300]}", bad=True)

    def list_images(self) -> None:
        """List the images whose names hold what is searched for."""
        from nicegui import ui

        if not len(self.images):
            return
        layout = self.layout
        indices = self.images.find(layout.search.value or "")
        if indices != list(self.listed):  # else the one that has the focus would be lost
            layout.names.clear()
            self.listed = {}
            with layout.names:
                for index in indices:
                    button = self.listed[index] = ui.element("button").props('type="button"')
                    with button:
                        ui.label(self.images.names[index])
                    button.on("click", functools.partial(self._choose, index))
        reached = self.place if self.place in indices else next(iter(indices), None)
        for index, button in self.listed.items():
            here, stop = index == self.place, 0 if index == reached else -1
            button.props(f'aria-current="{str(here).lower()}" tabindex="{stop}"')
        more = " Type to find more." if len(indices) < len(self.images) else ""
        here = f"Image {self.place + 1} of {len(self.images)}."
        layout.count.set_text((here if self.place >= 0 else f"{len(self.images)} images.") + more)

    def _explained(self) -> list[Explained]:
        return [one for one in self.found if isinstance(one, Explained)]

    def show(self) -> None:
        """Show what is known."""
        picture = self.picture
        if picture is None:
            return
        views = self._views()
        layout = self.layout
        layout.note.set_text(picture.note)
        layout.shared.set_visibility(len(views) > 1)
        ratio, point = f"{picture.shown[1]} / {picture.shown[0]}", self.point
        common = {"ratio": ratio, "point": None if point is None else list(point)}
        seen = [(view.model, view.before) for view in views]
        masks = len(dict.fromkeys(seen))
        layout.pictures.classes(
            add="kg-pairs" if masks > 1 else "", remove="" if masks > 1 else "kg-pairs"
        )
        for number, (frame, heat) in enumerate(zip(layout.masks, layout.maps)):
            layout.figures[frame].set_visibility(number < masks)
            layout.figures[heat].set_visibility(number < len(views))
            if number >= len(views):
                continue
            view = views[number]
            mask = (picture.before if view.before else picture.masks)[view.model]
            photo = picture.original if view.before else picture.photo
            common.update(photo=photo, cells=list(mask.grid))
            layers = []
            if layout.probable.value:
                layers.append({"key": "probability", "src": mask.probability})
            if layout.outlined.value:
                if picture.before and not view.before:
                    outline = picture.before[view.model].outline
                    layers.append({"key": "before", "src": outline, "opacity": 0.6})
                layers.append({"key": "outlines", "src": mask.outlines})
            probable = layout.probable.value
            frame.show(**common, grey=probable, layers=layers)
            layout.captions[frame].set_content(mask_caption(picture, mask, view.before, probable))
            heat.show(**common, grey=True, layers=[])
            layout.captions[heat].set_content("")
        self._show_maps()
        self._tell()

    def _show_maps(self) -> None:
        """Show relevance, where it is known."""
        layout, explained = self.layout, self._explained()
        if not explained:
            return
        first = explained[0]
        chosen = layout.layer.value if layout.layer.value in first.maps else PIXELS
        places = {id(one): one.place_like(chosen, first.parts) for one in explained}
        known = [one for one in explained if places[id(one)] is not None]
        where = [places[id(one)] or PIXELS for one in known]
        scales = scales_of(known, where, layout.shared.value)
        drawn = {id(one): pair for one, *pair in zip(known, where, scales)}
        for heat, one in zip(layout.maps, self.found):
            caption = layout.captions[heat]
            if isinstance(one, Unexplained):
                caption.set_content(no_relevance_caption(one.label, f"{one.text}."))
            elif id(one) not in drawn:
                caption.set_content(
                    no_relevance_caption(one.label, f"There is no layer like {chosen}.")
                )
            else:
                layer, scale = drawn[id(one)]
                over = scale.over(one.maps[layer])
                layers = [{"key": "heat", "src": over, "pixelated": True}]
                if layout.outlined.value:
                    layers.append({"key": "region", "src": one.region})
                heat.show(layers=layers)
                caption.set_content(relevance_caption(one, layer, scale))

    def _tell(self) -> None:
        """Say in words what is seen."""
        explained = self._explained()
        if self.picture is not None and explained and not self.works:
            self.layout.status.set_text(" ".join(sentences_of(self.picture, self.found)))
        books = [f"{one.label}: {conservation_sentence(one.books)}" for one in explained]
        self.layout.books.set_text("\n".join(books))
        self.layout.table.rows = table_rows(self.found)
        self.layout.table.update()


def numbers_of(given: Any, count: int) -> list[float] | None:
    """The numbers that a browser sent, if they are as many and are numbers."""
    if not isinstance(given, list) or len(given) != count:
        return None
    if not all(isinstance(part, (int, float)) for part in given):
        return None
    return [float(part) for part in given]
