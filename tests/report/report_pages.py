"""Small models, images and pages for the tests of the report."""

import base64
import hashlib
import io
from html.parser import HTMLParser

import keras
import numpy as np
from PIL import Image

import kerasgan as kg
from kerasgan.report import pictures

VOID = ("meta", "link", "img", "input", "br")


class Page(HTMLParser):
    """What a browser would find in a page: elements, and the text of each."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in VOID:
            self.open.append(self.elements[-1])

    def handle_startendtag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag
        if tag in ("td", "th"):
            self.handle_data(" ")

    def handle_data(self, data):
        for element in self.open:
            element[2] += data

    def all(self, tag, **wanted):
        found = [e for e in self.elements if e[0] == tag]
        return [e for e in found if all(e[1].get(k.rstrip("_")) == v for k, v in wanted.items())]

    def text(self, tag, **wanted):
        ((_, _, text),) = self.all(tag, **wanted)
        return " ".join(text.split())

    def check_closed(self):
        """The page loads nothing and runs its own script alone."""
        for tag, attributes, _ in self.elements:
            for name in ("src", "href", "srcset", "action", "data", "poster"):
                address = attributes.get(name) or "#"
                assert address.startswith(("data:image/", "data:,", "#")), (tag, address[:60])
            style = attributes.get("style", "")
            assert style.count("url(") == style.count("url(data:image/jpeg;base64,")
            assert not [name for name in attributes if name.startswith("on")]
        (policy,) = self.all("meta", **{"http-equiv": "Content-Security-Policy"})
        scripts = [e for e in self.all("script") if e[1].get("type") != "application/json"]
        (script,) = scripts
        digest = base64.b64encode(hashlib.sha256(script[2].encode()).digest()).decode()
        assert f"script-src 'sha256-{digest}'" in policy[1]["content"]
        assert "default-src 'none'" in policy[1]["content"]
        assert "@import" not in self.all("style")[0][2]
        assert "url(" not in self.all("style")[0][2]

    def check_reachable(self, scopes=("col", "row")):
        """A screen reader finds its way."""
        ids = [attributes["id"] for _, attributes, _ in self.elements if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes, _ in self.elements:
            for name in ("aria-labelledby", "aria-describedby"):
                assert attributes.get(name, ids[0]) in ids
            if attributes.get("href", "").startswith("#"):
                assert attributes["href"][1:] in ids
            if attributes.get("role") == "img":
                assert attributes.get("aria-label") or attributes.get("aria-labelledby")
        assert all("alt" in image[1] for image in self.all("img"))
        assert len(self.all("table")) == len(self.all("caption"))
        assert all(head[1].get("scope") in scopes for head in self.all("th"))
        levels = [int(e[0][1]) for e in self.elements if e[0] in ("h1", "h2", "h3", "h4", "h5")]
        assert levels[0] == 1
        assert all(b - a <= 1 for a, b in zip(levels, levels[1:]))
        labelled = sum(len(self.all(tag)) for tag in ("input", "select"))
        assert len(self.all("label")) == labelled


def read(path):
    return Page(path.read_text(encoding="utf-8"))


def network(classes=1, size=32, seed=0):
    """Two convolutions with biases; it draws what is red."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3))
    hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="down_1")(image)
    hidden = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="down_2")(hidden)
    last = "sigmoid" if classes == 1 else "softmax"
    mask = keras.layers.Conv2D(classes, 1, activation=last, name="mask")(hidden)
    return keras.Model(image, mask, name="small")


def write_images(folder, names, classes=1, size=(40, 48), seed=0):
    """Write noise with a square of each class in it; return the samples."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for name in names:
        pixels = rng.integers(0, 90, (*size, 3), dtype=np.uint8)
        mask = np.zeros(size, np.uint8)
        for label in range(1, max(classes, 2)):
            top, left = rng.integers(0, size[0] - 14), rng.integers(0, size[1] - 14)
            mask[top : top + 14, left : left + 14] = label
            pixels[top : top + 14, left : left + 14, label % 3] += 150
        Image.fromarray(pixels).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask * (255 if classes == 1 else 1)).save(folder / "masks" / f"{name}.png")
    return kg.data.load_folder(folder, classes=classes)


def decode(uri):
    kind, _, data = uri.partition(";base64,")
    assert kind in ("data:image/png", "data:image/jpeg")
    return Image.open(io.BytesIO(base64.b64decode(data)))


def values(drawn):
    """Read a map back from its colours, as the page does."""
    colours = np.asarray(decode(drawn.uri).convert("RGB")).astype(int)
    far = ((colours[:, :, None] - pictures.palette().astype(int)) ** 2).sum(-1)
    assert far.min(-1).max() == 0
    return (far.argmin(-1) - pictures.LEVELS) / pictures.LEVELS * drawn.limit
