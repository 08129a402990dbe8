"""The bundled entity corpus: up to date with its sources, varied, its test entities mostly unseen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[3] / "data" / "ner"
SPLITS = ("train", "dev", "test")
TYPES = {"PER", "ORG", "LOC", "DATE", "PRODUCT"}

Token = tuple[str, str]


def compiled(split: str) -> list[list[Token]]:
    """The (token, tag) rows of each sentence, read without the library."""
    blocks = (CORPUS / f"{split}.conll").read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    return [[tuple(row.split(" ")) for row in block.split("\n")] for block in blocks]  # type: ignore[misc]


def entities(sentence: list[Token]) -> list[tuple[str, str]]:
    """The (surface without spaces, type) pairs of a sentence in BIO."""
    found: list[tuple[str, str]] = []
    for token, tag in sentence:
        if tag.startswith("B-"):
            found.append((token, tag[2:]))
        elif tag.startswith("I-"):
            surface, label = found.pop()
            assert label == tag[2:], f"{tag} after {label} in {sentence}"
            found.append((surface + token, label))
    return found


def skeleton(sentence: list[Token]) -> tuple[str, ...]:
    """The sentence with each entity replaced by its type."""
    return tuple(tag[2:] if tag != "O" else token for token, tag in sentence if not tag.startswith("I-"))


def compile_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "compile.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=CORPUS.parents[1], check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A corpus folder with the real compiler and one sentence in each split."""
    shutil.copy(CORPUS / "compile.py", tmp_path)
    (tmp_path / "source").mkdir()
    for number, split in enumerate(SPLITS):
        (tmp_path / "source" / f"zh.{split}.txt").write_text(f"第{number}封信给[方平|PER]。\n", encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[list[Token]]]:
    return {split: compiled(split) for split in SPLITS}


def test_compiled_files_are_up_to_date() -> None:
    outcome = compile_in(CORPUS, "--check")
    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.parametrize("split", SPLITS)
def test_compiled_files_match_the_sources(split: str) -> None:
    wanted: Counter[tuple[str, tuple[tuple[str, str], ...]]] = Counter()
    annotation = re.compile(r"(?<!\\)\[([^|]+)\|([A-Z]+)\]")
    for path in CORPUS.glob(f"source/*.{split}.txt"):
        for line in path.read_text(encoding="utf-8").split("\n"):
            if line and not line.startswith("# "):
                text = re.sub(r"\\(.)", r"\1", annotation.sub(r"\1", line))
                pairs = tuple(("".join(found.split()), label) for found, label in annotation.findall(line))
                wanted["".join(text.split()), pairs] += 1
    found = Counter(
        ("".join(token for token, _ in sentence), tuple(entities(sentence))) for sentence in compiled(split)
    )
    assert found == wanted


@pytest.mark.parametrize("split", SPLITS)
def test_layout(split: str) -> None:
    content = (CORPUS / f"{split}.conll").read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"\n")
    assert not content.endswith(b"\n\n")
    assert all(re.fullmatch(r"|\S+ (O|[BI]-[A-Z]+)", line) for line in content.decode().split("\n"))


def test_size(corpus: dict[str, list[list[Token]]]) -> None:
    assert sum(map(len, corpus.values())) >= 1000
    without = sum(not entities(sentence) for sentences in corpus.values() for sentence in sentences)
    assert 0.08 <= without / sum(map(len, corpus.values())) <= 0.20


def test_every_type_in_every_split(corpus: dict[str, list[list[Token]]]) -> None:
    for split, sentences in corpus.items():
        assert {label for sentence in sentences for _, label in entities(sentence)} == TYPES, split


def test_no_sentence_twice_in_or_across_splits(corpus: dict[str, list[list[Token]]]) -> None:
    texts = Counter(
        "".join(token for token, _ in sentence).casefold() for sentences in corpus.values() for sentence in sentences
    )
    assert [text for text, count in texts.items() if count > 1] == []


def test_no_two_sentences_differ_only_in_their_entities(corpus: dict[str, list[list[Token]]]) -> None:
    forms = Counter(skeleton(sentence) for sentences in corpus.values() for sentence in sentences)
    assert [form for form, count in forms.items() if count > 1] == []


def test_at_least_half_of_the_test_entities_are_unseen(corpus: dict[str, list[list[Token]]]) -> None:
    seen = {surface.casefold() for sentence in corpus["train"] for surface, _ in entities(sentence)}
    mentions = [surface.casefold() for sentence in corpus["test"] for surface, _ in entities(sentence)]
    assert sum(surface not in seen for surface in mentions) >= len(mentions) / 2
    assert len(set(mentions) - seen) >= len(set(mentions)) / 2


def test_check_notices_an_edit_and_writes_nothing(copy: Path) -> None:
    assert compile_in(copy).returncode == 0
    assert compile_in(copy, "--check").returncode == 0
    source = copy / "source" / "zh.dev.txt"
    source.write_text(source.read_text(encoding="utf-8") + "[青瓦镇|LOC]下雪了。\n", encoding="utf-8")
    before = (copy / "dev.conll").read_bytes()
    outcome = compile_in(copy, "--check")
    assert outcome.returncode == 1
    assert "dev.conll is out of date" in outcome.stderr
    assert (copy / "dev.conll").read_bytes() == before
    assert compile_in(copy).returncode == 0
    assert "青 B-LOC\n瓦 I-LOC\n镇 I-LOC\n下 O\n" in (copy / "dev.conll").read_text(encoding="utf-8")


def test_escapes_comments_and_adjacent_entities(copy: Path) -> None:
    lines = "# a comment\n\n\\[a\\|b\\] \\\\ [青瓦镇|LOC][X\\|1|PRODUCT]#\n"
    (copy / "source" / "zh.dev.txt").write_text(lines, encoding="utf-8")
    assert compile_in(copy).returncode == 0
    expected = ["[ O", "a O", "| O", "b O", "] O", "\\ O", "青 B-LOC", "瓦 I-LOC", "镇 I-LOC"]
    expected += ["X B-PRODUCT", "| I-PRODUCT", "1 I-PRODUCT", "# O"]
    assert (copy / "dev.conll").read_text(encoding="utf-8").splitlines() == expected


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("去[青瓦镇|CITY]。", "column 2: found type 'CITY', expected one of PER"),
        ("去[青瓦镇|LOC。", "column 2: found '[青瓦镇|LOC。', expected"),
        ("去[青瓦镇]。", "column 2: found"),
        ("去[|LOC]。", "column 2: found"),
        ("去青瓦镇]。", "column 5: found"),
        ("a\\b", "column 2: found"),
        ("[Ann|PER]a left.", "found entity 'Ann', which starts or ends within a token"),
        ("去 [青瓦镇 |LOC]", "found entity '青瓦镇 ', which"),
    ],
)
def test_mistakes_are_reported_with_their_place(copy: Path, line: str, complaint: str) -> None:
    source = copy / "source" / "zh.dev.txt"
    source.write_text(f"# first\n{line}\n", encoding="utf-8")
    outcome = compile_in(copy)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(f"{source.resolve()}:2: {complaint}")
    assert outcome.stderr.count("\n") == 1
    assert not (copy / "dev.conll").exists()
