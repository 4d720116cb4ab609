"""Putting text between two marks of a page."""


def put(path, mark, text):
    """Replace what stands between `<!-- mark:start -->` and `<!-- mark:end -->` in a file."""
    old = path.read_text(encoding="utf-8")
    start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
    if start not in old or end not in old:
        raise SystemExit(f"{path} has no {start} and {end}")
    head, tail = old[: old.index(start) + len(start)], old[old.index(end) :]
    path.write_text(f"{head}\n\n{text.strip()}\n\n{tail}", encoding="utf-8")
