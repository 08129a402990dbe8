"""The fuzzer's targets under Hypothesis: files that are nearly right, of every format, must keep what is promised.

A target returns for a result and for an error of ours; it raises for everything else, inexact offsets among it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fuzz import command_line, folder, readers, seeds
from fuzz.targets import TARGETS
from nlp_app.formats.classification import ClassReadOptions, open_classes

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
TEXT = st.text(st.sampled_from("abAB \t'\"\\.,;|-_#0京é\u0301\ufeff\u2028\x85\r\ud83d😀\x00/:"), max_size=12)
TAGS = st.sampled_from(["O", "B-PER", "I-PER", "E-PER", "S-LOC", "I-LOC", "B", "NOUN", "Q-X", "B-", "-", ""])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 4, 8, 10**9, 1 << 63, 0.5, True, None, "0"])


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets' files go where pytest cleans up."""
    monkeypatch.setenv(folder.VARIABLE, str(tmp_path))
    folder.folder.cache_clear()


def put(target: str, decisions: list[int], content: str | bytes) -> None:
    """Run a target with these decisions before a file."""
    encoded = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    TARGETS[target].run(bytes(decisions) + encoded)


DECISIONS = st.lists(st.integers(0, 255), min_size=12, max_size=12)


def columns(separator: str, width: int) -> st.SearchStrategy[str]:
    """Tokens with tags, some rows too short, sentences and marks between."""
    row = st.tuples(TEXT, *[st.one_of(TAGS, TEXT)] * (width - 1)).map(separator.join)
    return st.lists(st.one_of(row, row, row, st.just(""), st.just("-DOCSTART- O"), TEXT), max_size=12).map("\n".join)


def json_values(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """What may stand at a key."""
    flat = st.one_of(st.none(), st.booleans(), NUMBERS, texts)
    return st.recursive(flat, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=2))


KEYS = st.sampled_from([
    "text", "label", "labels", "spans", "entities", "tokens", "ner_tags", "tags", "data", "annotations", "completions",
    "result", "value", "type", "choices", "answer", "accept", "cats", "options", "start", "end", "start_offset",
    "from_name", "user", "was_canceled", "ground_truth", "predictions", "data.text",
])  # fmt: skip
SPAN = st.one_of(
    st.tuples(NUMBERS, NUMBERS, TAGS).map(list),
    st.fixed_dictionaries(
        {},
        optional={"start": NUMBERS, "end": NUMBERS, "label": json_values(TEXT), "text": TEXT, "labels": st.just(["X"])},
    ),
)
OBJECT = st.one_of(
    st.fixed_dictionaries({"text": TEXT}, optional={"label": st.lists(SPAN, max_size=3), "answer": TEXT}),
    st.fixed_dictionaries({"tokens": st.lists(TEXT, max_size=4)}, optional={"ner_tags": st.lists(TAGS, max_size=4)}),
    st.dictionaries(
        KEYS, st.recursive(json_values(TEXT), lambda inner: st.dictionaries(KEYS, inner, max_size=3)), max_size=4
    ),
)


@st.composite
def json_files(draw: st.DrawFn) -> str:
    """JSON lines, or a document; sometimes cut."""
    objects = draw(st.lists(OBJECT, max_size=4))
    as_is = draw(st.booleans())
    text = "\n".join(json.dumps(value, ensure_ascii=as_is) for value in objects)
    if draw(st.booleans()):
        text = json.dumps(objects, indent=draw(st.sampled_from([None, 1])), ensure_ascii=as_is)
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 4)) == 0 else text


CONLLU_ROW = st.tuples(
    st.sampled_from(["1", "2", "3", "1-2", "2-3", "1.1", "0", "x"]), TEXT, *[st.one_of(st.just("_"), TEXT)] * 8
).map("\t".join)
CONLLU = st.lists(
    st.one_of(CONLLU_ROW, CONLLU_ROW, st.just(""), TEXT.map("# text = {}".format), st.just("# sent_id = 1")), max_size=8
).map("\n".join)
TABLES = st.sampled_from([",", "\t", ";", "|"]).flatmap(
    lambda mark: st.lists(
        st.lists(
            st.one_of(TEXT, st.sampled_from(["text", "label", '"a', 'b"', '"x ""y"" z"', "0", "1"])), max_size=4
        ).map(mark.join),
        max_size=8,
    ).map("\n".join)
)
LINES = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["__label__x", "__label__", "NUM:dist", "pos", "neg"]), TEXT).map(" ".join), TEXT
    ),
    max_size=8,
).map("\n".join)
SEQUENCES = st.one_of(columns("\t", 2), columns(" ", 3), columns("\t", 1), json_files(), CONLLU, LINES)


@FEW
@given(DECISIONS, SEQUENCES)
def test_files_of_tokens_and_spans(decisions: list[int], content: str) -> None:
    put("sequences", decisions, content)


@FEW
@given(st.sampled_from(readers.SUFFIXES), SEQUENCES)
def test_files_that_are_recognized(suffix: str, content: str) -> None:
    put("sequences", [readers.SUFFIXES.index(suffix), 0, 1, 0], content)
    put("classes", [readers.SUFFIXES.index(suffix), 1, 1], content)


@FEW
@given(DECISIONS, st.one_of(TABLES, TABLES, json_files(), LINES))
def test_files_of_classes(decisions: list[int], content: str) -> None:
    put("classes", decisions, content)


# A name for a column makes the first row a header, when it is found as when it is told.
def test_a_header_that_was_found_is_read_as_one_that_was_told() -> None:
    put("classes", [], b"\x07NUM:dist ew\xc7sentimenpos\n2,bad,neg\n\n3,,neg\n")


def test_a_label_whose_column_is_there_twice() -> None:
    path = folder.file_of("twice.csv", b"text,x,x\na,1,1\n")
    assert [record.labels for record in open_classes(path, ClassReadOptions(header=True))] == [("x",)]


def test_files_that_are_named_twice() -> None:
    for content, name in ((b"a B-X\nb O\n\nc O\n", "twice.conll"), (b"text,label\na,x\nb,y\n", "twice.csv")):
        path = str(folder.file_of(name, content))
        assert command_line.run(["inspect", path, path], b"") == (0, "")


@FEW
@given(st.binary(max_size=2), st.binary(max_size=60))
@example(b"\x00\x00", "\ufeffa\r\n\u2028b".encode())
@example(b"\x00\x00", b"\xef\xbb")
def test_bytes_to_lines(decisions: bytes, content: bytes) -> None:
    TARGETS["lines"].run(decisions.ljust(2, b"\0") + content)


@FEW
@given(DECISIONS, st.text(max_size=30))
def test_tokenizers(decisions: list[int], text: str) -> None:
    put("tokenizers", [*decisions[:2], 0], text.encode("utf-8", "replace"))
    put("tokenizers", [*decisions[:2], 3], bytes(decisions) + text.encode("utf-16-le", "surrogatepass"))


@FEW
@given(st.integers(0, 255), st.lists(TAGS, max_size=12))
def test_schemes(decision: int, tags: list[str]) -> None:
    put("schemes", [decision], " ".join(tags))


@FEW
@given(st.lists(st.integers(0, 255), min_size=39, max_size=39), st.text(max_size=40))
def test_alignment(decisions: list[int], text: str) -> None:
    put("alignment", decisions, text.encode("utf-8", "replace"))


@FEW
@given(DECISIONS, SEQUENCES)
def test_conversion(decisions: list[int], content: str) -> None:
    put("conversion", decisions, content)


NAMES = st.sampled_from(
    ["data", "train", "model", "track", "kind", "seed", "rate", "format", "scheme", "epochs", "clip", "x"]
)
TOML = st.one_of(
    st.sampled_from(
        ["1", "-1", "0.5", "nan", "1e400", "true", "''", '"a"', "[]", "{}", "[[1]]", "1979-05-27", '"\\u0000"']
    ),
    st.sampled_from(
        ['"transformer"', '"combined"', '"conll"', "9" * 5000, "[" * 2000, "{a=" * 600, "'''", '"\\ud800"']
    ),
)
SETTINGS = st.lists(st.one_of(NAMES.map("[{}]".format), st.tuples(NAMES, TOML).map(" = ".join), TEXT), max_size=6).map(
    "\n".join
)


@FEW
@given(st.integers(0, 1), st.lists(st.tuples(NAMES, NAMES, TOML), max_size=3), SETTINGS)
@example(0, [], "[model]\nkind = {}")
@example(0, [("train", "seed", "9" * 5000)], "a = " + "[" * 3000)
def test_settings(task: int, changes: list[tuple[str, str, str]], content: str) -> None:
    data = content.encode("utf-8", "surrogatepass")
    front = bytes([task, len(changes)])
    for table, name, value in reversed(changes):
        change = f"{table}.{name}={value}".encode("utf-8", "surrogatepass")
        data = change + data
    sizes = [len(f"{table}.{name}={value}".encode("utf-8", "surrogatepass")) for table, name, value in changes]
    TARGETS["settings"].run(front + cut(data, sizes))


def cut(data: bytes, sizes: list[int]) -> bytes:
    """The data with shares before the parts, as `Choices.part` takes them: about so long."""
    if not sizes:
        return data
    share = min(255, -(-255 * sizes[0] // max(len(data), 1)))
    size = len(data) * share // 255
    return bytes([share]) + data[:size] + cut(data[size:], sizes[1:])


@pytest.mark.parametrize(
    "name", [name for name in TARGETS if name not in ("taggers", "classifiers", "transformers", "foreign")]
)
def test_what_the_fuzzer_begins_with(name: str) -> None:
    run: Callable[[bytes], None] = TARGETS[name].run
    for data in TARGETS[name].seeds()[::3]:
        run(data)


def test_the_beginnings_get_far() -> None:
    """Seeds are read, not refused: else the fuzzer would have to find out by itself how files look."""
    from nlp_app.formats import tagging as formats

    for suffix, contents in seeds.SEQUENCES.items():
        for content in contents:
            path = folder.file_of(f"seed{suffix}", content.encode())
            assert list(formats.read(path))
