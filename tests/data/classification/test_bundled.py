"""The bundled classification corpus: up to date with its sources, without copies, unevenly distributed."""

from __future__ import annotations

import csv
import re
import shutil
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[3] / "data"
CORPUS = DATA / "cls"
SPLITS = ("train", "dev", "test")
LANGUAGES = ("zh", "en", "mixed")
CLASSES = ("delivery", "refund", "fault", "account", "product", "payment", "praise", "cancel")

Pair = tuple[str, str]


def compiled(split: str) -> list[Pair]:
    """The (text, label) rows of a compiled file."""
    with (CORPUS / f"{split}.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, strict=True)
    assert header == ["text", "label"]
    return [(text, label) for text, label in rows]


def source(language: str, split: str) -> list[Pair]:
    """The (text, label) pairs of a source file, read without the library."""
    lines = (CORPUS / "source" / f"{language}.{split}.txt").read_text(encoding="utf-8").split("\n")
    labeled = [line.split("\t") for line in lines if line and not line.startswith("# ")]
    return [(text, label) for label, text in labeled]


def letters(text: str) -> str:
    """Strip case, digits, spaces, punctuation and emoji from a text."""
    return re.sub(r"[\W\d_]+", "", text.casefold())


def compile_in(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "compile.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=DATA.parent, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A corpus folder with the real compiler and one text in each split."""
    shutil.copy(CORPUS / "compile.py", tmp_path)
    (tmp_path / "source").mkdir()
    for split in SPLITS:
        (tmp_path / "source" / f"zh.{split}.txt").write_text(f"refund\t退钱给{split}\n", encoding="utf-8")
    return tmp_path


@pytest.fixture(scope="module")
def corpus() -> dict[str, list[Pair]]:
    return {split: compiled(split) for split in SPLITS}


def test_compiled_files_are_up_to_date() -> None:
    outcome = compile_in(CORPUS, "--check")
    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.parametrize("split", SPLITS)
def test_compiled_files_match_the_sources(split: str) -> None:
    assert sorted(compiled(split)) == sorted(pair for language in LANGUAGES for pair in source(language, split))


@pytest.mark.parametrize("path", sorted(CORPUS.rglob("*.[ct][sx][vt]")), ids=lambda path: path.name)
def test_layout(path: Path) -> None:
    content = path.read_bytes()
    assert b"\r" not in content
    assert not content.startswith(b"\xef\xbb\xbf")
    assert content.endswith(b"\n")
    assert "\ufffd" not in content.decode()


def test_no_other_sources() -> None:
    names = {path.name for path in (CORPUS / "source").iterdir()}
    assert names == {f"{language}.{split}.txt" for language in LANGUAGES for split in SPLITS}


def test_size_and_lengths(corpus: dict[str, list[Pair]]) -> None:
    texts = [text for pairs in corpus.values() for text, _ in pairs]
    assert len(texts) >= 1200
    assert all(text == text.strip() and 4 <= len(text) <= 400 for text in texts)
    assert sum(len(text) > 120 for text in texts) <= 0.05 * len(texts)


def test_no_text_twice_in_or_across_splits(corpus: dict[str, list[Pair]]) -> None:
    forms = Counter(letters(text) for pairs in corpus.values() for text, _ in pairs)
    assert [form for form, count in forms.items() if count > 1 or not form] == []


def test_no_two_texts_share_half_of_their_trigrams(corpus: dict[str, list[Pair]]) -> None:
    forms = [letters(text) for pairs in corpus.values() for text, _ in pairs]
    trigrams = [(form, {form[at : at + 3] for at in range(max(1, len(form) - 2))}) for form in forms]
    close = [
        (one, other)
        for (one, first), (other, second) in combinations(trigrams, 2)
        if 3 * len(first & second) >= len(first) + len(second)  # Jaccard index >= 1/2
    ]
    assert close == []


def test_classes_are_uneven_and_in_every_split(corpus: dict[str, list[Pair]]) -> None:
    for split, pairs in corpus.items():
        counts = Counter(label for _, label in pairs)
        assert set(counts) == set(CLASSES), split
        assert max(counts.values()) >= 4 * min(counts.values()), split


def test_splits_have_similar_shares_of_classes_and_languages(corpus: dict[str, list[Pair]]) -> None:
    for share in (
        {split: Counter(label for _, label in pairs) for split, pairs in corpus.items()},
        {split: Counter({language: len(source(language, split)) for language in LANGUAGES}) for split in SPLITS},
    ):
        for name in share["train"]:
            parts = [share[split][name] / share[split].total() for split in SPLITS]
            assert max(parts) - min(parts) < 0.02, name


@pytest.mark.parametrize("split", SPLITS)
def test_texts_are_in_the_language_of_their_source(split: str) -> None:
    chinese = re.compile(r"[\u4e00-\u9fff]")
    assert all(chinese.search(text) for text, _ in source("zh", split))
    assert not any(chinese.search(text) for text, _ in source("en", split))
    assert all(chinese.search(text) and re.search("[A-Za-z]", text) for text, _ in source("mixed", split))


def test_counts_of_the_readme() -> None:
    section = (DATA / "README.md").read_text(encoding="utf-8").split("## `cls/`")[1]
    for split in SPLITS:
        languages = [len(source(language, split)) for language in LANGUAGES]
        classes = Counter(label for _, label in compiled(split))
        cells = [split, f"{sum(languages):,}", *languages, *(classes[label] for label in CLASSES)]
        assert f"| {' | '.join(map(str, cells))} |\n" in section
    assert f"| {' | '.join(CLASSES)} |\n" in section
    assert f"\n\n{sum(len(compiled(split)) for split in SPLITS):,} short texts" in section


def test_check_notices_an_edit_and_writes_nothing(copy: Path) -> None:
    assert compile_in(copy).returncode == 0
    assert compile_in(copy, "--check").returncode == 0
    edited = copy / "source" / "zh.dev.txt"
    edited.write_text(edited.read_text(encoding="utf-8") + 'fault\t灯说"滴",就灭了\n', encoding="utf-8")
    before = (copy / "dev.csv").read_bytes()
    outcome = compile_in(copy, "--check")
    assert outcome.returncode == 1
    assert "dev.csv is out of date" in outcome.stderr
    assert (copy / "dev.csv").read_bytes() == before
    assert compile_in(copy).returncode == 0
    assert '\n"灯说""滴"",就灭了",fault\n' in (copy / "dev.csv").read_text(encoding="utf-8")


def test_a_new_text_moves_no_other(copy: Path) -> None:
    edited = copy / "source" / "zh.dev.txt"
    lines = [f"praise\t第{number}次买了\n" for number in range(20)]
    edited.write_text("".join(lines), encoding="utf-8")
    assert compile_in(copy).returncode == 0
    before = (copy / "dev.csv").read_text(encoding="utf-8").splitlines()
    edited.write_text("# first\n\nfault\t坏了\n" + "".join(lines), encoding="utf-8")
    assert compile_in(copy).returncode == 0
    after = (copy / "dev.csv").read_text(encoding="utf-8").splitlines()
    assert [row for row in after if row != "坏了,fault"] == before
    assert len(after) == len(before) + 1


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("refunds\t退钱", "found label 'refunds', expected one of delivery"),
        ("\ufeffrefund\t退钱", "found label '\\ufeffrefund', expected"),
        ("refund 退钱", "found 'refund 退钱', expected label<TAB>text"),
        ("refund\t", "found 'refund\\t', expected label<TAB>text"),
        ("refund\t退钱\t快", "found 'refund\\t退钱\\t快', expected label<TAB>text"),
    ],
)
def test_mistakes_are_reported_with_their_place(copy: Path, line: str, complaint: str) -> None:
    edited = copy / "source" / "zh.dev.txt"
    edited.write_text(f"# first\n{line}\n", encoding="utf-8")
    outcome = compile_in(copy)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith(f"{edited.resolve()}:2: {complaint}")
    assert outcome.stderr.count("\n") == 1
    assert not (copy / "dev.csv").exists()
