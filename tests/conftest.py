"""One thread and quiet waiting, before torch is loaded: tests share a machine with each other. And one small model."""

from __future__ import annotations

import os

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import contextlib
import csv
import io
import json
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings
from signals import default_handlers

from nlp_app.core.paths import bundled_path

# Examples differ from run to run and find new faults, but not in CI, where the same commit has to give the same answer.
settings.register_profile("local", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "local")

SMALL = [
    f"--set={change}"
    for change in (
        "train.checkpoint_seconds=0", "train.epochs=3", "train.batch_tokens=256",
        "model.word_dim=16", "model.shape_dim=8", "model.affix_dim=16", "model.hidden_size=16"
    )
]  # fmt: skip


SMALL_CLASSES = [
    f"--set={change}"
    for change in (
        "model.kind=embedding_bag",
        "model.char_ngrams=2-3",
        "model.hidden_size=4",
        "train.checkpoint_seconds=0",
        "train.epochs=3",
        "train.batch_size=20",
    )
]

LEARNT = ["train.epochs=12", "train.learning_rate=0.01", "train.sparse_learning_rate=0.03", "model.input_dropout=0.1"]


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def sentences(split: str, count: int) -> str:
    """The first sentences of a split of the bundled corpus, as CoNLL columns."""
    text = bundled_path(f"data/ner/{split}.conll").read_text(encoding="utf-8")
    return "\n\n".join(text.split("\n\n")[:count]) + "\n\n"


def class_rows(split: str, count: int) -> list[list[str]]:
    """Text and label of the first texts of a split of the bundled corpus."""
    lines = bundled_path(f"data/cls/{split}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    return list(csv.reader(lines))[1 : count + 1]


def write_csv(path: Path, rows: list[list[str]], header: tuple[str, ...] = ("text", "label")) -> Path:
    """Write a table, quoted where need be."""
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows([header, *rows])
    path.write_text(lines.getvalue(), encoding="utf-8", newline="\n")
    return path


class Small(NamedTuple):
    """A small run: its data files and its directory."""

    train: Path
    dev: Path
    test: Path
    run: Path


@pytest.fixture(scope="session", autouse=True)
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the home directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NLP_APP_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def handlers(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests with the marker `interrupt` have the default handlers, even if pytest was started with SIGINT ignored."""
    if request.node.get_closest_marker("interrupt") is None:
        yield
        return
    with default_handlers():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Report a signal that a test sent and nothing caught as a failure: pytest would stop, as for a real Ctrl-C."""
    try:
        return (yield)
    except KeyboardInterrupt as error:
        if pyfuncitem.get_closest_marker("interrupt") is None:
            raise
        raise AssertionError("a signal ended the test: nothing caught it") from error


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A run on some 120 sentences of the bundled corpus. Tests only read it."""
    from nlp_app.config import TaggingSettings, read_settings
    from nlp_app.training import train_ner

    directory = tmp_path_factory.mktemp("small")
    paths = {split: directory / f"{split}.conll" for split in ("train", "dev", "test")}
    for (split, path), count in zip(paths.items(), (120, 25, 40), strict=True):
        path.write_text(sentences(split, count), encoding="utf-8")
    changes = [change.removeprefix("--set=") for change in SMALL] + [f"data.{name}={p}" for name, p in paths.items()]
    settings = read_settings(TaggingSettings, None, [*changes, *LEARNT])
    train_ner(settings, directory / "run", quiet=True)
    return Small(*paths.values(), directory / "run")


@pytest.fixture(scope="session")
def whole(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """The essence of an undisturbed run on the data of `small` with some more arguments, trained once for all tests."""
    from nlp_app.cli import main

    found: dict[tuple[str, ...], dict[str, Any]] = {}
    files = [f"--{split}={getattr(small, split)}" for split in ("train", "dev", "test")]

    def run(*more: str) -> dict[str, Any]:
        if more not in found:
            output = tmp_path_factory.mktemp("whole") / "run"
            with contextlib.redirect_stdout(io.StringIO()):
                main(["train", "ner", *files, "--output", str(output), "--quiet", *SMALL, *more])
            found[more] = essence(output)
        return found[more]

    return run


@pytest.fixture(scope="session")
def tagger(request: pytest.FixtureRequest, small: Small) -> Any:
    """The small run's model, loaded; in tests of predictions on each backend."""
    import nlp_app

    return nlp_app.load(small.run, backend=getattr(request, "param", "torch"))


@pytest.fixture(scope="session")
def torch_tagger(small: Small) -> Any:
    """The small run's model, with a network in torch."""
    import nlp_app

    return nlp_app.load(small.run, backend="torch")


@pytest.fixture(scope="session")
def small_classes(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A run on some 240 texts of the bundled corpus, a class each. Tests only read it."""
    from nlp_app.config import ClassificationSettings, read_settings
    from nlp_app.training import train_cls

    directory = tmp_path_factory.mktemp("small_classes")
    counts = {"train": 240, "dev": 60, "test": 80}
    paths = [write_csv(directory / f"{split}.csv", class_rows(split, count)) for split, count in counts.items()]
    changes = [change.removeprefix("--set=") for change in SMALL_CLASSES]
    changes += [f"data.{split}={path}" for split, path in zip(counts, paths, strict=True)]
    settings = read_settings(ClassificationSettings, None, [*changes, "train.epochs=6"])
    train_cls(settings, directory / "run", quiet=True)
    return Small(*paths, directory / "run")


@pytest.fixture(scope="session")
def classifier(request: pytest.FixtureRequest, small_classes: Small) -> Any:
    """The small classification run's model, loaded; in tests of predictions on each backend."""
    import nlp_app

    return nlp_app.load(small_classes.run, backend=getattr(request, "param", "torch"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of predictions, in tests/inference, on both backends."""
    if metafunc.definition.path.is_relative_to(Path(__file__).parent / "inference"):
        for name in {"tagger", "classifier"}.intersection(metafunc.fixturenames):
            metafunc.parametrize(name, ["numpy", "torch"], indirect=True, scope="session")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The command line, run in this process."""
    from nlp_app.cli import main

    def run(*arguments: object) -> Outcome:
        status = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
        return Outcome(status, *capsys.readouterr())

    return run


def files_of(directory: Path) -> dict[str, bytes]:
    """The contents of every file below a directory; of a directory itself, none."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else b""
        for path in sorted(directory.rglob("*"))
    }


def essence(run: Path) -> dict[str, Any]:
    """What two equal runs have in common: all but checkpoints, and the seconds that epochs took."""
    files = {name: content for name, content in files_of(run).items() if not name.startswith("checkpoints")}
    history = [json.loads(line) for line in files.pop("history.jsonl").decode().splitlines()]
    return files | {"history": [{key: value for key, value in line.items() if key != "seconds"} for line in history]}


def refused(outcome: Outcome, *said: object) -> None:
    """The command ended with one line on standard error that says all this, and status 2."""
    assert (outcome.status, outcome.out) == (2, ""), outcome
    assert outcome.err.startswith("error: "), outcome
    assert outcome.err.find("\n") == len(outcome.err) - 1, outcome
    for part in said:
        assert str(part) in outcome.err, outcome.err
