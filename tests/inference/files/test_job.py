"""Tagging and classifying files: compression, shards, worker processes and bad records."""

from __future__ import annotations

import gzip
import io
import json
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from conftest import Outcome, Small, files_of, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_app.core.errors import DataError
from nlp_app.formats.io.compression import compress_frame, open_bytes
from nlp_app.formats.io.lines import count_lines, decode_lines, decode_lines_or_errors

Cli = Callable[..., Outcome]
NULL_SPANS = {"text": None, "spans": None}
NULL_CLASS = {"text": None, "predicted": None, "score": None}


def texts(count: int) -> str:
    return "".join(f"In {n} Anna left Rome for 北京, said Google's {n % 97}.\n" for n in range(count))


def quoted(count: int) -> str:
    """CSV with cells that go over several lines."""
    rows = (f'"text {n}, with ""quotes""{chr(10) * (n % 3)} and {n * 7919 % 1003}",x\n' for n in range(count))
    return "text,label\n" + "".join(rows)


def columns(count: int) -> str:
    sentences = (f"Anna {n}\nlives {n}\n{'in Rome '.strip()}\n"[: None if n % 2 else -8] + "\n" for n in range(count))
    return "-DOCSTART- x\n\n" + "".join(sentences)


FILES = {
    "tag": {"a.txt": texts(2500), "a.conll": columns(2500), "a.jsonl": "".join(
        json.dumps({"text": line} if n % 3 else {"tokens": line.split()}) + "\n"
        for n, line in enumerate(texts(2500).splitlines()))},
    "classify": {"a.txt": texts(2500), "a.csv": quoted(2500)},
}  # fmt: skip
CASES = [(command, name) for command, files in FILES.items() for name in files]


def model_of(command: str, small: Small, small_classes: Small) -> Path:
    return small.run if command == "tag" else small_classes.run


def as_gzip(content: bytes) -> bytes:
    return gzip.compress(content[:1000]) + gzip.compress(content[1000:]) + b"\0" * 100


def as_zstd(content: bytes) -> bytes:
    one = zstandard.ZstdCompressor()
    return one.compress(content[:1000]) + one.compress(content[1000:])


@pytest.mark.parametrize(("command", "name"), CASES)
def test_shards_and_compression_do_not_change_the_results(
    cli: Cli, small: Small, small_classes: Small, tmp_path: Path, command: str, name: str
) -> None:
    """Shards concatenated are the whole, byte for byte, compressed too; compressed input gives the same output."""
    model = model_of(command, small, small_classes)
    content = FILES[command][name].encode()
    (tmp_path / name).write_bytes(content)
    (tmp_path / f"{name}.gz").write_bytes(as_gzip(content))
    (tmp_path / f"{name}.zst").write_bytes(as_zstd(content))

    def run(source: str, target: str, *more: object) -> bytes:
        arguments = ["--input", tmp_path / source, "--output", tmp_path / target, "--quiet", *more]
        assert cli(command, model, *arguments) == (0, "", "")
        return (tmp_path / target).read_bytes()

    whole = run(name, "whole.out")
    assert run(f"{name}.gz", "b.out") == whole
    assert run(f"{name}.zst", "whole.out.zst") == run(name, "c.out.ZST")
    packed = run(name, "whole.out.gz")
    assert gzip.decompress(packed) == whole
    with open_bytes(tmp_path / "whole.out.zst") as stream:
        assert stream.read() == whole
    if shutil.which("zstd"):
        done = subprocess.run(["zstd", "-dc", tmp_path / "whole.out.zst"], capture_output=True, check=True)
        assert done.stdout == whole
    sizes = []
    for count in (2, 3, 7):
        parts = [run(name, f"{n}.out", "--shard", f"{n}/{count}") for n in range(1, count + 1)]
        assert b"".join(parts) == whole
        sizes.append(sum(map(bool, parts)))
    assert sizes[:2] == [2, 3]  # all have something to do
    assert b"".join(run(f"{name}.zst", f"{n}.out.gz", "--shard", f"{n}/2") for n in (1, 2)) == packed


@pytest.mark.parametrize("command", ["tag", "classify"])
def test_shards_of_an_empty_file(cli: Cli, small: Small, small_classes: Small, tmp_path: Path, command: str) -> None:
    (tmp_path / "a.txt").write_text("")
    for part in ("1/2", "2/2"):
        arguments = ["--input", tmp_path / "a.txt", "--output", tmp_path / "out", "--shard", part]
        assert cli(command, model_of(command, small, small_classes), *arguments) == (0, "", "")
        assert (tmp_path / "out").read_bytes() == b""


def test_output_can_be_read_by_gzip(cli: Cli, small: Small, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(texts(1200))
    cli("tag", small.run, "--input", tmp_path / "a.txt", "--output", tmp_path / "a.out.gz")
    subprocess.run(["gzip", "-t", tmp_path / "a.out.gz"], check=True)
    done = subprocess.run(["gzip", "-dc", tmp_path / "a.out.gz"], capture_output=True, check=True)
    assert [json.loads(line)["text"] for line in done.stdout.decode().splitlines()] == texts(1200).splitlines()
    cli("tag", small.run, "Anna", "--output", tmp_path / "b.gz")
    assert json.loads(gzip.decompress((tmp_path / "b.gz").read_bytes()))["text"] == "Anna"
    (tmp_path / "none.txt").write_text("")
    cli("tag", small.run, "--input", tmp_path / "none.txt", "--output", tmp_path / "none.gz")
    subprocess.run(["gzip", "-t", tmp_path / "none.gz"], check=True)


@pytest.mark.slow
def test_workers_change_nothing(cli: Cli, small: Small, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(FILES["tag"]["a.conll"])
    found = []
    for count in (1, 2, 3):
        target = tmp_path / f"{count}.gz"
        more = ["--quiet", "--threads", 1, "--workers", count]
        assert cli("tag", small.run, "--input", tmp_path / "a.conll", "--output", target, *more) == (0, "", "")
        found.append(target.read_bytes())
    assert len(set(found)) == 1


def test_compressed_data_to_inspect_and_evaluate(cli: Cli, small: Small, tmp_path: Path) -> None:
    for suffix, pack in ((".gz", as_gzip), (".zst", as_zstd)):
        path = tmp_path / f"test.conll{suffix}"
        path.write_bytes(pack(small.test.read_bytes()))
        assert cli("evaluate", small.run, path, "--json").out == cli("evaluate", small.run, small.test, "--json").out
        assert cli("inspect", path).status == 0


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_damaged_compression(cli: Cli, small: Small, tmp_path: Path, suffix: str) -> None:
    noise = random.Random(1)
    content = "".join(f"{noise.random()} Anna\n" for _ in range(5000)).encode()
    whole = gzip.compress(content) if suffix == "gz" else as_zstd(content)
    harmed = bytearray(whole)
    harmed[len(whole) // 2 : len(whole) // 2 + 200] = bytes(200)
    for case, data in (("cut", whole[:-20]), ("harmed", bytes(harmed)), ("followed", whole + b"rubbish here")):
        path = tmp_path / f"{case}.txt.{suffix}"
        path.write_bytes(data)
        before = files_of(tmp_path)
        refused(cli("tag", small.run, "--input", path, "--output", tmp_path / "out.jsonl"), path)
        assert files_of(tmp_path) == before


def test_zstd_that_begins_with_frames_to_be_skipped(
    cli: Cli, small: Small, small_classes: Small, tmp_path: Path
) -> None:
    """As pzstd writes it."""
    skipped = b"".join(bytes([number, 0x2A, 0x4D, 0x18, 4, 0, 0, 0]) + b"size" for number in (0x50, 0x5F))
    content = texts(50).encode()
    (tmp_path / "a.txt").write_bytes(content)
    (tmp_path / "b.txt.zst").write_bytes(skipped + as_zstd(content) + skipped)
    for command, model in (("tag", small.run), ("classify", small_classes.run)):
        found = [cli(command, model, "--input", tmp_path / name, "--format", "text") for name in ("a.txt", "b.txt.zst")]
        assert found[0].out == found[1].out != ""
    assert cli("inspect", tmp_path / "b.txt.zst", "--format", "text").status == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt.gz", b"Anna\n", "found no gzip data"),
        ("a.txt.ZST", b"Anna\n", "found no zstd data"),
        ("a.txt.gz", b"", "found no gzip data"),
        ("a.txt.zst", b"\x28\xb5\x2f\xfd\x00\xa0\x29\x00\x00Anna\n", "compress it again without --long"),
    ],
)
def test_wrong_or_unsupported_compression(
    cli: Cli, small: Small, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    refused(cli("tag", small.run, "--input", tmp_path / name), f"{tmp_path / name}: ", said)
    refused(cli("inspect", tmp_path / name), f"{tmp_path / name}: ", said)


# --- records that can't be read ---

BAD_TEXTS = {
    "not UTF-8": (
        "Anna\nin \udcff Rome\n北京\n".encode("utf-8", "surrogateescape"),
        2,
        "byte 0xFF at offset 8 is not utf-8",
    ),
    "NUL": (b"Anna\nBob\nin \0 Rome\n", 3, "found a NUL"),
    "a mark first": ("\ufeff马云\n".encode() + b"in \xc3\nBob", 2, "byte 0xC3 at offset 13 is not utf-8"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_bad_lines_of_text(cli: Cli, small: Small, small_classes: Small, tmp_path: Path, case: str) -> None:
    content, line, said = BAD_TEXTS[case]
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    good = [
        text for number, text in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1) if number != line
    ]
    for command, model, null in (("tag", small.run, NULL_SPANS), ("classify", small_classes.run, NULL_CLASS)):
        more = ["--format", "text"] if command == "classify" else []
        outcome = cli(command, model, "--input", path, *more)
        found = [json.loads(each) for each in outcome.out.splitlines()]
        assert outcome.status == 0
        assert f"bad record: {path}:{line}: {said}" in outcome.err
        assert f"{path}: 1 bad record was written as a null result" in outcome.err
        wrong = found.pop(line - 1)
        assert wrong.pop("error").startswith(f"{line}: {said}")
        assert wrong == null
        assert [each["text"] for each in found] == good
        refused(cli(command, model, "--input", path, "--output", tmp_path / "o", "--strict", *more), f"{path}:{line}: ")
        assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]
        assert cli(command, model, "--input", path, "--quiet", *more).err.count("\n") == 1  # the count, always


BAD_OBJECTS = [
    b'{"text": ', b'{"text": "x"} x', b"[1, 2]", b'[{"text": "x"}]', b"3", b'{"text": 3}', b'{"text": "\\ud83d"}',
    b'{"text": "\xff"}', b'{"text": "a\0b"}', b"{", b"}", b'{"text": "a"}{"text": "b"}', b"\xff", b'"x',
]  # fmt: skip


@given(st.lists(st.one_of(st.none(), st.sampled_from(BAD_OBJECTS)), min_size=1, max_size=600), st.booleans())
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bad_objects_leave_the_others_alone(
    cli: Cli, small: Small, small_classes: Small, tmp_path: Path, kinds: list[bytes | None], tagging: bool
) -> None:
    kinds = [None, *(kind for kind in kinds for _ in range(2))]
    if len([kind for kind in kinds[:100] if kind is None]) * 10 < len(kinds[:100]):
        kinds = [None] * 100 + kinds
    lines = [b'{"text": "text %d"}' % n if kind is None else kind for n, kind in enumerate(kinds)]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    command, model = ("tag", small.run) if tagging else ("classify", small_classes.run)
    outcome = cli(command, model, "--input", tmp_path / "a.jsonl", "--quiet", "--set", "data.encoding=utf-8")
    assert outcome.status == 0
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert len(found) == len(kinds)
    for n, (kind, line) in enumerate(zip(kinds, found, strict=True)):
        assert line["text"] == (None if kind is not None else f"text {n}")
        assert kind is None or line["error"].startswith(f"{n + 1}: ")


def test_an_object_without_a_text_has_no_class(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    """An empty text is one."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n{"text": null}\n{"other": 1}\n{"text": ""}\n{"text": "b"}\n')
    for command, model in (("tag", small.run), ("classify", small_classes.run)):
        outcome = cli(command, model, "--input", path, "--quiet")
        found = [json.loads(line) for line in outcome.out.splitlines()]
        assert [each["text"] for each in found] == ["a", None, None, "", "b"]
        assert [each["error"][:10] for each in found if "error" in each] == ["2: found n", "3: found n"]
        refused(cli(command, model, "--input", path, "--strict"), f"{path}:2: found no")


def test_a_row_of_a_data_set_without_a_text(
    cli: Cli, small_classes: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n{"text": null}\n')
    source = f"hf:{tmp_path / 'a.jsonl'}"
    refused(cli("classify", small_classes.run, "--input", source), f"{source}:2: `text`: found no value")


def test_bad_sentences_of_columns(cli: Cli, small: Small, tmp_path: Path, tagger: Any) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(
        b"Anna NNP\nlives VB\n\nBob\nsaw VB\n\n\n-DOCSTART- x\n\nRome NNP\n\nin\xff x\nRome NNP\n\na  b c\n\nBob NNP\n"
    )
    outcome = cli("tag", small.run, "--input", path, "--set", "data.encoding=utf-8")
    tags = iter([tag for sentence in tagger.tag_tokens([["Anna", "lives"], ["Rome"], ["Bob"]]) for tag in sentence])
    expected = [
        f"Anna NNP {next(tags)}", f"lives VB {next(tags)}", "", "_ _ O", "saw VB O", "", "", "-DOCSTART- x O", "",
        f"Rome NNP {next(tags)}", "", "_ _ O", "Rome NNP O", "", "_ _ O", "", f"Bob NNP {next(tags)}",
    ]  # fmt: skip
    assert (outcome.status, outcome.out.split("\n")[:-1]) == (0, expected)
    for said in (":4: found 1 column, expected 2", ":12: byte 0xFF", ":15: found 3 columns", "3 bad records"):
        assert f"{path}{said}" in outcome.err or said in outcome.err
    refused(cli("tag", small.run, "--input", path, "--strict"), f"{path}:4: ")


def test_bad_sentences_of_conllu(cli: Cli, small: Small, tmp_path: Path) -> None:
    line = "{}\t{}\t_\t_\t_\t_\t_\t_\t_\t_\n"
    good = line.format(1, "Anna") + line.format(2, "x") + "\n"
    content = (
        good + line.format(1, "Anna") + "2\tx\n\n" + good + line.format(1, "a") + line.format(3, "b") + "\n" + good
    )
    (tmp_path / "a.conllu").write_bytes(content.encode() + b"# text = \xff\n" + good.encode())
    outcome = cli("tag", small.run, "--input", tmp_path / "a.conllu", "--set", "data.encoding=utf-8")
    found = [json.loads(each) for each in outcome.out.splitlines()]
    assert [each.get("tokens") for each in found] == [["Anna", "x"], None, ["Anna", "x"], None, ["Anna", "x"], None]
    assert [each["error"].split(":")[0] for each in found if "error" in each] == ["5", "11", "16"]


BAD_ROWS = [
    'x,y,z,w', 'x,y,"z', '"a "quoted" cell",x', '"never closed,x', '"""odd"" ",x,y,z', 'a,"b" c', '"a\rb"x,y',
]  # fmt: skip


def test_bad_rows_leave_the_others_alone(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    """A quote that is never closed takes its own line only."""
    rows = ["text,label", *(f'"a ""good"" row, number {n}",x' for n in range(20))]
    for n, bad in enumerate(BAD_ROWS):
        rows += [bad, *(f'"good, {n} {m}{chr(10) * (m % 2)}",x' for m in range(30))]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n", newline="")
    outcome = cli("classify", small_classes.run, "--input", tmp_path / "a.csv")
    found = [json.loads(each) for each in outcome.out.splitlines()]
    good = [f'a "good" row, number {n}' for n in range(20)]
    good += [f"good, {n} {m}{chr(10) * (m % 2)}" for n in range(len(BAD_ROWS)) for m in range(30)]
    assert outcome.status == 0
    assert [each["text"] for each in found if each["text"] is not None] == good
    assert sum(each["text"] is None for each in found) == len(BAD_ROWS)
    lines = "\n".join(rows).split("\n")
    wrong = [int(each["error"].split(":")[0]) for each in found if each["text"] is None]
    assert [lines[number - 1] for number in wrong] == BAD_ROWS
    refused(cli("classify", small_classes.run, "--input", tmp_path / "a.csv", "--strict"), f"a.csv:{wrong[0]}: ")


def test_unclosed_quote_is_reported_with_its_line(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"a, b",x\n"c, d",x\n"never closed,x\ne,x\n')
    outcome = cli("classify", small_classes.run, "--input", tmp_path / "a.csv")
    found = [json.loads(each) for each in outcome.out.splitlines()]
    assert [each["text"] for each in found] == ["a, b", "c, d", None, "e"]
    assert found[2]["error"].startswith("4: a quote opened in this row isn't closed; expected RFC 4180")


def test_many_bad_records_are_counted(cli: Cli, small: Small, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(("马云\nin ".encode() + b"\xff\n") * 50)
    outcome = cli("tag", small.run, "--input", tmp_path / "a.txt")
    assert outcome.status == 0
    assert outcome.err.count("bad record: ") == 11
    assert outcome.err.endswith("50 bad records were written as null results (use --strict to fail instead)\n")


def test_file_of_bad_records_is_an_error(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    chinese = "马云在杭州创办了阿里巴巴。\n\n" * 200
    (tmp_path / "a.txt").write_bytes(chinese.encode("gb18030"))
    (tmp_path / "b.txt").write_bytes(random.Random(0).randbytes(50_000))
    (tmp_path / "c.txt").write_bytes(("這部電影很好看\n\n" * 200).encode("big5"))
    before = files_of(tmp_path)
    for name, said in {"a.txt": "is not utf-8", "b.txt": "is not utf-8", "c.txt": "name its encoding"}.items():
        more = ["--set", "data.encoding=utf-8"] if name == "a.txt" else []
        outcome = cli("tag", small.run, "--input", tmp_path / name, "--output", tmp_path / "o", *more)
        refused(outcome, f"{name}:", said)
    refused(cli("classify", small_classes.run, "--input", tmp_path / "b.txt", "--output", tmp_path / "o"), "b.txt")
    assert files_of(tmp_path) == before
    for more, said in (((), "note: encoding: GB18030, as byte 0xC2 at offset 0"), (("data.encoding=gb18030",), "")):
        outcome = cli("tag", small.run, "--input", tmp_path / "a.txt", *(f"--set={each}" for each in more))
        assert [json.loads(each)["text"] for each in outcome.out.splitlines()] == chinese.splitlines()
        assert outcome.err.startswith(said)
        assert ("encoding" in outcome.err) == bool(said)


ENCODINGS = ["utf-8-sig", "gb18030", "cp1252", "utf-16", "utf-16-le", "big5", "shift_jis", "latin-1", "iso2022_jp"]


@given(st.lists(st.text(st.sampled_from("ab \u2028é马日\r\x85"), max_size=8), max_size=30), st.sampled_from(ENCODINGS))
def test_readable_lines_are_decoded_as_usual(lines: list[str], encoding: str) -> None:
    data = "\n".join(lines).encode(encoding, "ignore")
    expected = list(decode_lines(io.BytesIO(data), "a", encoding))
    assert list(decode_lines_or_errors(io.BytesIO(data), "a", encoding)) == expected
    assert count_lines(io.BytesIO(data), "a", encoding) == len(expected)


@given(st.lists(st.sampled_from([b"good", b"\xff", b"a\0b", b"\xe9\xa9\xac", b"\xe9\xa9", b"", b"x\r"]), max_size=40))
def test_each_bad_line_is_an_error_of_its_own(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    found = list(decode_lines_or_errors(io.BytesIO(data), "a", "utf-8-sig"))
    lines = lines if lines and lines[-1] else lines[:-1]
    assert len(found) == len(lines) == count_lines(io.BytesIO(data), "a", "utf-8-sig")
    for number, (line, each) in enumerate(zip(lines, found, strict=True), 1):
        is_bad = line in (b"\xff", b"a\0b", b"\xe9\xa9")
        assert isinstance(each, DataError) == is_bad
        assert each.line == number if isinstance(each, DataError) else each == line.decode().removesuffix("\r")


@given(st.lists(st.binary(max_size=300), max_size=5), st.sampled_from(["gzip", "zstd"]))
def test_concatenated_frames_are_one_file(parts: list[bytes], kind: str) -> None:
    packed = b"".join(compress_frame(part, kind) for part in parts)
    assert packed == b"".join(compress_frame(part, kind) for part in parts)
    if kind == "gzip":
        assert gzip.decompress(packed) == b"".join(parts)
    else:
        reader = zstandard.ZstdDecompressor().stream_reader(packed, read_across_frames=True)
        assert reader.read() == b"".join(parts)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--shard", "0/3"], "--shard: found '0/3', expected I/N"),
        (["--shard", "4/3"], "--shard: found '4/3'"),
        (["--shard", "x"], "--shard: found 'x'"),
        (["--workers", "0"], "--workers"),
        (["--input", ""], "--input: found an empty name"),
        (["--output", ""], "--output: found an empty name"),
        (["--resume"], "--resume: can't resume on standard output"),
        (["--resume", "--output", "/dev/null"], "--resume: /dev/null is not a regular file"),
        (["--resume", "--output", "o", "--input", "-"], "--resume: - can't be read again"),
        (["--shard", "1/2", "--input", "-"], "--shard: - can't be split"),
        (["--shard", "1/2", "--input", "missing"], "missing: can't be read: No such file"),
        (["--resume", "--output", "o", "--input", "missing"], "missing: can't be read: No such file"),
        (["--journal-seconds", "nan", "--output", "o"], "--journal-seconds: found nan"),
    ],
)
def test_invalid_options(cli: Cli, small: Small, more: list[str], said: str) -> None:
    source = [] if "--input" in more else ["--input", small.test]
    refused(cli("tag", small.run, *source, *more), said)
    refused(cli("tag", small.run, "text", "--resume"), "--resume is for a file")
