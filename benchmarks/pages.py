"""Text between two marks of a page, `<!-- mark:start -->` and `<!-- mark:end -->`."""

import re


def parts(path, mark):
    """Return a page up to the end of the first mark, between the marks, and from the second on."""
    old = path.read_text(encoding="utf-8")
    start, end = f"<!-- {mark}:start -->", f"<!-- {mark}:end -->"
    if start not in old or end not in old:
        raise SystemExit(f"{path} has no {start} and {end}")
    first, last = old.index(start) + len(start), old.index(end)
    return old[:first], old[first:last].strip(), old[last:]


def put(path, mark, text):
    """Replace what stands between two marks."""
    head, _, tail = parts(path, mark)
    path.write_text(f"{head}\n\n{text.strip()}\n\n{tail}", encoding="utf-8")


def put_sections(path, mark, new, heading="##"):
    """Put sections, texts by their titles, between two marks; others that stand there stay."""
    pattern = rf"^{heading} .*?(?=^{heading} |\Z)"
    texts = re.findall(pattern, parts(path, mark)[1], re.M | re.S)
    old = {text.splitlines()[0][len(heading) + 1 :]: text.strip() + "\n" for text in texts}
    put(path, mark, "\n".join({**old, **new}.values()))


def put_titled(path, mark, title, text):
    """Put a text below its title between two marks; those of other titles stay."""
    put_sections(path, mark, {title: f"### {title}\n\n{text}\n"}, "###")
