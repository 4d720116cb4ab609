"""Draw the rooms of the package and the imports between them, and list the modules of each room.

Example:
    python benchmarks/architecture.py --write

Reads the source files without importing them. Prints, and with --write puts between the marks of
docs/architecture.md, a table of modules for each room, and writes docs/assets/architecture.svg: an
arrow from each room to every room that it imports from, with the number of import statements.
"""

import argparse
import ast
import collections
import pathlib

from pages import put

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "kerasgan"
ROOMS = ("data", "models", "training", "inference", "explain", "evaluation", "report", "app", "cli")
SHARED = "shared modules"
WIDTH, BOX, HEIGHT, TOP, STEP = 880, 87, 48, 220, 24
GAP = (WIDTH - len(ROOMS) * BOX - 20) / (len(ROOMS) - 1)


def room_of(parts):
    """Return the room of a dotted name or path, given in parts below `kerasgan`."""
    return parts[0] if parts and (PACKAGE / parts[0]).is_dir() else SHARED


def imported(node):
    """Return the rooms that an import statement imports from."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and not node.level:
        single = node.module == "kerasgan"
        names = [f"kerasgan.{a.name}" for a in node.names] if single else [node.module]
    else:
        names = []
    parts = [name.split(".") for name in names]
    return {room_of(name[1:]) for name in parts if name[0] == "kerasgan" and name[1:]}


def imports():
    """Return how many statements of each room import from each other room."""
    counts = collections.Counter()
    for file in sorted(set(PACKAGE.rglob("*.py")) - set(PACKAGE.glob("_*.py"))):
        room = room_of(file.relative_to(PACKAGE).parts[:-1])
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            counts.update((room, other) for other in imported(node) - {room})
    return counts


def middle(room):
    """Return the x coordinate of the middle of a room's box."""
    return 10 + ROOMS.index(room) * (BOX + GAP) + BOX / 2


def arrow(room, other, count):
    """Draw an arc from a room to one on its left, with its number at the top."""
    start, end = middle(room) - 14, middle(other) + 14
    distance = ROOMS.index(room) - ROOMS.index(other)
    height = TOP - 14 - STEP * distance
    x = (start + end) / 2
    path = f"M{start:g},{TOP} C{start:g},{height:g} {end:g},{height:g} {end:g},{TOP - 4}"
    y = TOP - 0.75 * (TOP - height)
    return (
        f'<path d="{path}" marker-end="url(#import)"/>',
        f'<rect x="{x - 12:g}" y="{y - 9:g}" width="24" height="18" rx="4"/>'
        f'<text x="{x:g}" y="{y + 4:g}" class="small">{count}</text>',
    )


def drawing(counts):
    """Return the drawing as SVG."""
    rooms = [other for pair in counts for other in pair if other != SHARED]
    strange = set(rooms) - set(ROOMS)
    if strange:
        raise SystemExit(f"Not among the rooms of this drawing: {sorted(strange)}")
    wrong = [p for p in counts if SHARED not in p and ROOMS.index(p[0]) < ROOMS.index(p[1])]
    if wrong:
        raise SystemExit(f"Imports to the right: {wrong}")
    paths, labels, boxes = [], [], []
    for room in ROOMS:
        x = middle(room)
        boxes.append(
            f'<rect x="{x - BOX / 2:g}" y="{TOP}" width="{BOX}" height="{HEIGHT}" rx="6"/>'
        )
        labels.append(f'<text x="{x:g}" y="{TOP + 29}">{room}</text>')
    for room in ROOMS:
        for other in ROOMS:
            if counts[room, other]:
                path, label = arrow(room, other, counts[room, other])
                paths.append(path)
                labels.append(label)
        if counts[room, SHARED]:
            x, y = middle(room), TOP + HEIGHT
            paths.append(f'<path d="M{x:g},{y} V{y + 40}" marker-end="url(#import)"/>')
            labels.append(
                f'<text x="{x + 16:g}" y="{y + 26}" class="small">{counts[room, SHARED]}</text>'
            )
    bottom = TOP + HEIGHT + 44
    boxes.append(f'<rect x="10" y="{bottom}" width="{WIDTH - 20}" height="40" rx="6"/>')
    modules = sorted(p.stem for p in PACKAGE.glob("*.py") if not p.stem.startswith("_"))
    labels.append(f'<text x="{WIDTH / 2:g}" y="{bottom + 25}">{", ".join(modules)}</text>')
    said = "; ".join(f"{a} imports {b} {n} times" for (a, b), n in sorted(counts.items()))
    lines = [
        f'<svg class="diagram wide" viewBox="0 0 {WIDTH} {bottom + 50}" role="img" '
        f'aria-label="Imports between the rooms of kerasgan: {said}." '
        'xmlns="http://www.w3.org/2000/svg">',
        '<defs><marker id="import" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" class="line-fill"/></marker>'
        "</defs>",
        '<g class="line">',
        *paths,
        "</g>",
        '<g class="box">',
        *boxes,
        "</g>",
        '<g class="text">',
        *labels,
        "</g>",
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def summary(file):
    """Return the first sentence of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).removesuffix(".").replace("|", "\\|")


def tables():
    """Return a table of the modules of each room, and of those that serve all rooms."""
    parts = []
    for room in (*ROOMS, SHARED):
        folder = PACKAGE if room == SHARED else PACKAGE / room
        files = sorted(folder.glob("*.py") if room == SHARED else folder.rglob("*.py"))
        rows = [
            f"| `{file.relative_to(folder).as_posix()}` | {summary(file)} |"
            for file in files
            if file.name != "__init__.py"
        ]
        title = "Shared modules" if room == SHARED else f"kerasgan/{room}"
        parts.append("\n".join([f"### {title}", "", "| file | content |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into docs/architecture.md and assets")
    args = parser.parse_args()
    counts = imports()
    for (room, other), count in sorted(counts.items()):
        print(f"{room} -> {other}: {count}")
    print(tables())
    svg = drawing(counts)
    if args.write:
        (ROOT / "docs" / "assets" / "architecture.svg").write_text(svg, encoding="utf-8")
        put(ROOT / "docs" / "architecture.md", "modules", tables())


if __name__ == "__main__":
    main()
