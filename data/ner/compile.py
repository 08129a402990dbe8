"""Compiles the annotated sentences of `source/` to `train.conll`, `dev.conll` and `test.conll`.

A source file, `source/LANGUAGE.SPLIT.txt`, has one sentence a line with its entities inline:
`[马云|PER]在[杭州|LOC]。` A literal `[`, `|`, `]` or `\\` is escaped by a backslash; blank lines and lines
that start with `# ` are skipped. The compiled files have one token a line, `TOKEN TAG` in BIO, and an
empty line between sentences.

Run from the project's environment: `python data/ner/compile.py`. With `--check` nothing is written, and
the exit status is 1 if the compiled files are not what the sources give. It is 2 for a mistake in a source.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nlp_app.core.errors import DataError
from nlp_app.core.types import CharSpan
from nlp_app.text import make_tokenizer

HERE = Path(__file__).resolve().parent
SPLITS = ("train", "dev", "test")
TYPES = ("PER", "ORG", "LOC", "DATE", "PRODUCT")

_CHARACTER = r"[^\[\]|\\]|\\[\[\]|\\]"
_PIECE = re.compile(rf"\[(?P<surface>(?:{_CHARACTER})+)\|(?P<label>\w*)\]|(?P<plain>(?:{_CHARACTER})+)")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Annotated:
    """A sentence of a source file: its raw text, and its entities as ranges of code points."""

    text: str
    spans: list[CharSpan]
    path: Path
    line: int


def parse(annotated: str, path: Path, line: int) -> Annotated:
    """Takes the inline annotation out of a line. Raises DataError where it is malformed."""
    text, spans, position = "", [], 0
    while position < len(annotated):
        piece = _PIECE.match(annotated, position)
        if piece is None:
            found = f"column {position + 1}: found {annotated[position : position + 12]!r}"
            message = f"{found}, expected text or [TEXT|TYPE]; put \\ before a literal [ | ] or \\"
            raise DataError(message, path, line)
        start = len(text)
        text += _ESCAPE.sub(r"\1", piece["surface"] or piece["plain"])
        if piece["surface"]:
            if piece["label"] not in TYPES:
                found = f"column {position + 1}: found type {piece['label']!r}"
                raise DataError(f"{found}, expected one of {', '.join(TYPES)}; correct it", path, line)
            spans.append(CharSpan(start, len(text), piece["label"]))
        position = piece.end()
    return Annotated(text, spans, path, line)


def read_source(path: Path) -> list[Annotated]:
    """The sentences of one source file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [
        parse(line.strip(), path, number)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("# ")
    ]


def columns(sentence: Annotated) -> list[tuple[str, str]]:
    """The sentence's tokens with their BIO tags. Raises DataError for an entity that cuts through a token."""
    tokens = make_tokenizer("basic", do_lower_case=False)(sentence.text)
    first = {start: index for index, start in enumerate(tokens.starts)}
    last = {end: index for index, end in enumerate(tokens.ends)}
    tags = ["O"] * len(tokens)
    for start, end, label in sentence.spans:
        if start not in first or end not in last:
            found = f"found entity {sentence.text[start:end]!r}, which starts or ends within a token"
            message = f"{found}, expected whole words without outer spaces; move the brackets"
            raise DataError(message, sentence.path, sentence.line)
        length = last[end] + 1 - first[start]
        tags[first[start] : last[end] + 1] = [f"B-{label}"] + [f"I-{label}"] * (length - 1)
    words = [sentence.text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)]
    return list(zip(words, tags, strict=True))


def compile_split(split: str, source: Path) -> str:
    """One split of all languages as CoNLL columns.

    Ordered by a hash of the text: mixed for training, and a new sentence doesn't move the others.
    """
    sentences = [sentence for path in sorted(source.glob(f"*.{split}.txt")) for sentence in read_source(path)]
    sentences.sort(key=lambda sentence: hashlib.sha256(sentence.text.encode()).digest())
    return "\n".join("".join(f"{token} {tag}\n" for token, tag in columns(sentence)) for sentence in sentences)


def main() -> int:
    """Writes the compiled files, or with `--check` compares them."""
    parser = argparse.ArgumentParser(description="Compile the sentences of source/ to CoNLL columns.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if out of date")
    check = parser.parse_args().check
    try:
        texts = {split: compile_split(split, HERE / "source") for split in SPLITS}
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    compiled = {HERE / f"{split}.conll": text.encode() for split, text in texts.items()}
    stale = [path for path, content in compiled.items() if not path.exists() or path.read_bytes() != content]
    for path in stale:
        if check:
            sys.stderr.write(f"{path.name} is out of date: run python data/ner/compile.py\n")
        else:
            path.write_bytes(compiled[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
