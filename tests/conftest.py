"""One thread and quiet waiting, before torch is loaded: tests share a machine with each other. And one small model."""

from __future__ import annotations

import os

os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import settings

from nlp_app.resources import bundled

# Examples differ from run to run and find new faults, but not in CI, where the same commit has to give the same answer.
settings.register_profile("local", deadline=None)
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable" if os.environ.get("CI") else "local")

SMALL = [
    f"--set={change}"
    for change in (
        "train.epochs=3", "train.batch_tokens=256", "model.norm=16", "model.shape=8", "model.part=16", "model.hidden=16"
    )
]  # fmt: skip


LEARNT = ["train.epochs=12", "train.rate=0.01", "train.sparse_rate=0.03", "model.input_dropout=0.1"]


class Outcome(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def sentences(split: str, count: int) -> str:
    """The first sentences of a split of the bundled corpus, as CoNLL columns."""
    text = bundled(f"data/ner/{split}.conll").read_text(encoding="utf-8")
    return "\n\n".join(text.split("\n\n")[:count]) + "\n\n"


class Small(NamedTuple):
    """A small run: its data files and its directory."""

    train: Path
    dev: Path
    test: Path
    run: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A run on some 120 sentences of the bundled corpus. Tests only read it."""
    from nlp_app.config import TaggingSettings, read_settings
    from nlp_app.experiment import train_ner

    directory = tmp_path_factory.mktemp("small")
    paths = {split: directory / f"{split}.conll" for split in ("train", "dev", "test")}
    for (split, path), count in zip(paths.items(), (120, 25, 40), strict=True):
        path.write_text(sentences(split, count), encoding="utf-8")
    changes = [change.removeprefix("--set=") for change in SMALL] + [f"data.{name}={p}" for name, p in paths.items()]
    settings = read_settings(TaggingSettings, None, [*changes, *LEARNT])
    train_ner(settings, directory / "run", quiet=True)
    return Small(*paths.values(), directory / "run")


@pytest.fixture(scope="session")
def tagger(small: Small) -> Any:
    """The small run's model, loaded."""
    import nlp_app

    return nlp_app.load(small.run)


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
