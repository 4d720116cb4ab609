"""The browser app, from the command line."""

from __future__ import annotations

import os
import pathlib

import kerasgan as kg
from kerasgan.app import start
from kerasgan.cli.loading import Answer, load_model, options_of


def app(
    model: str | os.PathLike,
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

        loaded = load_model(model)
        known = ("size", "mode", "scale", "threshold", "temperature", "preprocess")
        network = Network(loaded, options_of(loaded, known), _name_of(model))
        settings = {"channels": network.channels, "classes": network.classes}
        found = Images({}, **settings) if images is None else find_images(images, **settings)
        token = start.make_token(host)
        address = start.address_of(opened, host, token)
        print(f"{network.name}, {len(found)} images. Open {address}  Ctrl-C ends it.", flush=True)
        start.serve(network, found, opened, host, token)
    return Answer({"address": address, "images": len(found)}, "The app was ended.")


def _name_of(model: str | os.PathLike) -> str:
    path = pathlib.Path(model).resolve()
    return path.parent.name if path.name == "model" else path.name
