"""The version in all the places that state it, and what a release says of itself.

    python .ci/release.py check                 all places state one version
    python .ci/release.py check --tag v0.2.0    and it is that of the tag, released on a day
    python .ci/release.py set 0.2.0             write a version, not released so far, everywhere
    python .ci/release.py set 0.2.0 --date 2027-01-31    the same, released on that day
    python .ci/release.py notes                 print its section of the changelog

The one place is kerasgan/_version.py, which the package, its metadata and the documentation read;
CITATION.cff, docs/citing.md and CHANGELOG.md cannot read it.
"""

from __future__ import annotations

import argparse
import datetime
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
VERSION = re.compile(r"\d+\.\d+\.\d+")
PLACES = {  # where else it stands, and as what
    "kerasgan/_version.py": re.compile(r'^__version__ = "(.*)"$', re.MULTILINE),
    "CITATION.cff": re.compile(r"^version: (.*)$", re.MULTILINE),
    "docs/citing.md": re.compile(r"^  version = \{(.*)\},$", re.MULTILINE),
    "CHANGELOG.md": re.compile(r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", re.MULTILINE),
}
CHANGES = re.compile(r"^## (\S+) \((.+)\)$", re.MULTILINE)
CITED_DAY = re.compile(r"^date-released: (.*)\n", re.MULTILINE)
UNRELEASED = "unreleased"


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    part = parts.add_parser("check")
    part.add_argument("--tag", help="v and the version")
    part = parts.add_parser("set")
    part.add_argument("version", help="such as 0.2.0")
    part.add_argument("--date", help="day of the release, such as 2027-01-31; left out until then")
    parts.add_parser("notes")
    args = parser.parse_args()
    if args.part == "set":
        problems = wrong(args.version, args.date)
        if not problems:
            write(ROOT, args.version, args.date)
    elif args.part == "check":
        problems = check(ROOT, args.tag)
    else:
        problems = check(ROOT)
        if not problems:
            print(notes(ROOT))
    for problem in problems:
        print(f"Error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def check(root: pathlib.Path, tag: str | None = None) -> list[str]:
    """Say what does not agree; with a tag, also what keeps that version from being released."""
    texts = {place: (root / place).read_text(encoding="utf-8") for place in PLACES}
    stated = {place: form.search(texts[place]) for place, form in PLACES.items()}
    problems = [
        f"{place} states no version, where {PLACES[place].pattern} is looked for"
        for place, found in stated.items()
        if found is None
    ]
    if problems:
        return problems
    versions = {place: found.group(1) for place, found in stated.items()}
    if len({*versions.values()}) > 1:
        each = ", ".join(f"{place}: {version}" for place, version in versions.items())
        problems.append(f"the places state different versions ({each})")
    version = versions["kerasgan/_version.py"]
    if not VERSION.fullmatch(version):
        problems.append(f"the version must be three numbers with dots. Found: {version}")
    day = CHANGES.search(texts["CHANGELOG.md"]).group(2)
    cited = CITED_DAY.search(texts["CITATION.cff"])
    cited = cited.group(1) if cited else UNRELEASED
    if cited != day:
        problems.append(f"CHANGELOG.md says {day}, and date-released of CITATION.cff {cited}")
    if tag is not None:
        if tag != f"v{version}":
            problems.append(f"the tag is {tag}, and the version {version}: v{version} was expected")
        if day == UNRELEASED:
            problems.append(
                f"CHANGELOG.md has no day for {version}: "
                f"python .ci/release.py set {version} --date {datetime.date.today()}"
            )
        if not problems and not notes(root):
            problems.append(f"CHANGELOG.md says nothing about {version}")
    return problems


def wrong(version: str, date: str | None) -> list[str]:
    """Say what is wrong with a version or a day that is to be written."""
    problems = []
    if not VERSION.fullmatch(version):
        problems.append(f"the version must be three numbers with dots. Received: {version}")
    try:
        if date is not None and str(datetime.date.fromisoformat(date)) != date:
            raise ValueError
    except ValueError:
        problems.append(f"--date must be a day such as 2027-01-31. Received: {date}")
    return problems


def write(root: pathlib.Path, version: str, date: str | None) -> None:
    """Write a version everywhere. A released version keeps its section of the changelog."""
    heading = f"## {version} ({date or UNRELEASED})"
    for place, form in PLACES.items():
        path = root / place
        text = path.read_text(encoding="utf-8")
        if place == "CHANGELOG.md":
            newest = CHANGES.search(text)
            if newest.group(2) == UNRELEASED or newest.group(1) == version:
                text = text.replace(newest.group(), heading, 1)
            else:
                text = text.replace(newest.group(), f"{heading}\n\n{newest.group()}", 1)
        else:
            start, end = form.search(text).span(1)
            text = text[:start] + version + text[end:]
        if place == "CITATION.cff":
            text = CITED_DAY.sub("", text)
            if date is not None:
                line = f"version: {version}\n"
                text = text.replace(line, f"{line}date-released: {date}\n", 1)
        if place == "docs/citing.md" and date is not None:
            text = re.sub(r"(?<=^  year    = \{)\d{4}", date[:4], text, count=1, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")


def notes(root: pathlib.Path) -> str:
    """The newest section of the changelog, without its heading."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *later = CHANGES.finditer(text)
    return text[first.end() : later[0].start() if later else None].strip()


if __name__ == "__main__":
    sys.exit(main())
