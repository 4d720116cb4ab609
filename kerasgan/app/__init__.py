"""The browser app: what a model predicts on an image, and which pixels that rests on.

It stands above all rooms, and no room knows of it; `kerasgan app` starts it. In come one model or
two, and images, from a folder or dropped on the page; out comes a page on this computer alone.

- `start.py`: the address, the server, and what is said when it cannot start.
- `guard.py`: who may ask, and how much may be sent.
- `page.py`: what happens on the page; `layout.py`: its elements, built on NiceGUI (the extra
  `app`); `texts.py`: what it says.
- `session.py`: what one window of the browser shows, without anything of the web; `question.py`:
  what can be asked; `painting.py`: painting something over.
- `network.py`: the model: predictions, explanations, layers. `images.py`: the files.
- `worker.py`: the thread that predicts and explains; `prepare.py`: that in which networks are
  traced for a rule, so that nobody else waits for it.
- `saved.py`: what is seen, as a page to keep.
"""
