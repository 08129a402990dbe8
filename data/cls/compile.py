"""Compiles the labelled texts of `source/` to `train.csv`, `dev.csv` and `test.csv`.

A source file, `source/LANGUAGE.SPLIT.txt`, has one text a line, `label<TAB>text`; blank lines and lines that
start with `# ` are skipped. The compiled files have the columns `text,label`, quoted as RFC 4180 says.

Run from the project's environment: `python data/cls/compile.py`. With `--check` nothing is written, and
the exit status is 1 if the compiled files are not what the sources give. It is 2 for a mistake in a source.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import sys
from pathlib import Path

from nlp_app.core.errors import DataError

HERE = Path(__file__).resolve().parent
SPLITS = ("train", "dev", "test")
CLASSES = ("delivery", "refund", "fault", "account", "product", "payment", "praise", "cancel")


def parse(row: str, path: Path, line: int) -> tuple[str, str]:
    """The (text, label) of a source line. Raises DataError where it is malformed."""
    label, *texts = (part.strip() for part in row.split("\t"))
    if len(texts) != 1 or not texts[0]:
        raise DataError(f"found {row[:24]!r}, expected label<TAB>text; put one tab after the label", path, line)
    if label not in CLASSES:
        raise DataError(f"found label {label!r}, expected one of {', '.join(CLASSES)}; correct it", path, line)
    return texts[0], label


def read_source(path: Path) -> list[tuple[str, str]]:
    """The (text, label) pairs of one source file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        parse(line, path, number)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("# ")
    ]


def compile_split(split: str, source: Path) -> str:
    """One split of all languages as CSV.

    Ordered by a hash of the text: mixed for training, and a new text doesn't move the others.
    """
    pairs = [pair for path in sorted(source.glob(f"*.{split}.txt")) for pair in read_source(path)]
    pairs.sort(key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("text", "label"), *pairs])
    return table.getvalue()


def main() -> int:
    """Writes the compiled files, or with `--check` compares them."""
    parser = argparse.ArgumentParser(description="Compile the texts of source/ to CSV.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if out of date")
    check = parser.parse_args().check
    try:
        texts = {split: compile_split(split, HERE / "source") for split in SPLITS}
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    compiled = {HERE / f"{split}.csv": text.encode() for split, text in texts.items()}
    stale = [path for path, content in compiled.items() if not path.exists() or path.read_bytes() != content]
    for path in stale:
        if check:
            sys.stderr.write(f"{path.name} is out of date: run python data/cls/compile.py\n")
        else:
            path.write_bytes(compiled[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
