"""The browser app, from the command line."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import kerasgan as kg
from kerasgan.app import start
from kerasgan.cli.loading import Answer, load_model, options_of


def app(
    model: str | os.PathLike,
    other: str | os.PathLike | None = None,
    *,
    images: str | os.PathLike | None = None,
    host: str = "127.0.0.1",
    port: int = 8080,
) -> Answer:
    """Serve the app until Ctrl-C."""
    start.require_packages()
    opened = start.listen(host, port)
    with opened:
        _ = kg.models  # TensorFlow, without its notices
        from kerasgan.app.images import Images, find_images
        from kerasgan.app.network import Network

        known = ("size", "mode", "scale", "threshold", "temperature", "preprocess")
        networks: list[Network] = []
        for path in (model, other):
            if path is not None:
                loaded = load_model(path)
                name = _name_of(path, [network.name for network in networks])
                networks.append(Network(loaded, options_of(loaded, known), name))
        channels = max(network.channels for network in networks)
        settings = {"channels": channels, "classes": networks[0].classes}
        listed = Images({}, **settings) if images is None else find_images(images, **settings)
        token = start.make_token(host)
        address = start.address_of(opened, host, token)
        names = " and ".join(network.name for network in networks)
        print(f"{names}, {len(listed)} images. Open {address}  Ctrl-C ends it.", flush=True)
        start.serve(networks, listed, opened, host, token)
    return Answer({"address": address, "images": len(listed)}, "The app was ended.")


def _name_of(model: str | os.PathLike, others: Sequence[str]) -> str:
    path = pathlib.Path(model).resolve()
    name = path.parent.name if path.name == "model" else path.name
    return f"{name} (2)" if name in others else name
