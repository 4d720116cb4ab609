"""The browser app: what a model predicts on an image, and which pixels that rests on.

It stands above all rooms, and no room knows of it; `kerasgan app` starts it. In come a model and
images, from a folder or dropped on the page; out comes a page on this computer alone.

- `start.py`: the address, the server, and what is said when it cannot start.
- `guard.py`: who may ask, and how much may be sent.
- `page.py`: the page and its controls, built on NiceGUI (the extra `app`).
- `session.py`: what one window of the browser shows, without anything of the web.
- `network.py`: the model: predictions, explanations, layers. `images.py`: the files.
- `worker.py`: the one thread in which TensorFlow works.
- `saved.py`: what is seen, as a page to keep.
"""
