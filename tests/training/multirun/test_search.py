"""Search for settings: trials and their selection; the test set is not used; no trial is lost or run twice."""

from __future__ import annotations

import json
import math
import random
import shutil
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import SMALL, SMALL_CLASSES, Outcome, Small, files_of, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from nlp_app.config import TaggingSettings, read_settings, read_task_settings
from nlp_app.training import train_ner
from nlp_app.training.multirun.optuna_study import FAILED, FINISHED, QUARTERS, STOPPED, Study, Trial
from nlp_app.training.multirun.search_space import Choices, Interval, current_values, search_space, with_values

pytest.importorskip("optuna")

Cli = Callable[..., Outcome]
QUICK = [*SMALL, "--set=train.epochs=2", "--set=train.eval_every_epochs=1"]
PEOPLE = ("Ann", "Bob", "Cid", "Dora", "Eve", "Finn", "Gus", "Hal", "Ida", "Jo", "Kim", "Lea", "Mia", "Ned", "Otto")
PLACES = ("Oslo", "Rome", "Lima", "Bonn", "Cork", "Graz", "Kiel", "Lyon", "Nice", "Pisa", "Riga", "Ulm", "Wien", "York")
FIXED = {change.removeprefix("--set=").partition("=")[0] for change in QUICK}


def easy(count: int, seed: int) -> str:
    """Sentences that are learned at different speeds, as CoNLL columns."""
    chance, blocks = random.Random(seed), []
    for _ in range(count):
        rows = [(chance.choice(PEOPLE), "B-PER"), ("sees", "O"), (chance.choice(PLACES), "B-LOC")]
        chance.shuffle(rows)
        blocks.append("".join(f"{token} {tag}\n" for token, tag in rows))
    return "\n".join(blocks) + "\n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("data")
    for seed, (split, count) in enumerate({"train": 30, "dev": 20, "test": 15}.items()):
        (directory / f"{split}.conll").write_text(easy(count, seed), encoding="utf-8")
    return directory


def command(data: Path, output: Path, trials: int, *more: object) -> list[str]:
    files = [word for split in ("train", "dev", "test") for word in (f"--{split}", data / f"{split}.conll")]
    given = ("train", "ner", *files, "--output", output, "--search", trials, "--quiet", *QUICK, *more)
    return [str(word) for word in given]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of three trials. Tests only read it."""
    from nlp_app.cli import main

    output = tmp_path_factory.mktemp("search") / "run"
    main(command(data, output, 3))
    return output


def report_of(output: Path) -> dict[str, Any]:
    """The content of search.json without seconds."""
    report: dict[str, Any] = json.loads((output / "search.json").read_text())
    for trial in report["trials"]:
        trial.pop("seconds")
    return report


def result(output: Path) -> dict[str, Any]:
    """All files that are equal in two equal searches: without checkpoints, seconds and the journal."""
    files: dict[str, Any] = {n: c for n, c in files_of(output).items() if not n.startswith("checkpoints")}
    del files["search/journal.log"]
    for name in [name for name in files if name.endswith("history.jsonl")]:
        files[name] = [json.loads(line) | {"seconds": 0} for line in files[name].decode().splitlines()]
    return files | {"search.json": report_of(output)}


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        *(("ner", kind) for kind in ("bilstm_crf", "transformer")),
        *(("cls", kind) for kind in ("combined", "embedding_bag", "textcnn", "transformer")),
    ],
)
def test_everything_in_a_space_can_be_set(task: str, kind: str) -> None:
    base: Any = read_task_settings(task, None, [f"model.kind={kind}"])
    space = search_space(base, ())
    assert len(space) >= 5
    for name, each in space.items():
        options = each.values if isinstance(each, Choices) else (each.low, (each.low + each.high) / 2, each.high)
        assert current_values(base, [name])[name] in options or isinstance(each, Interval)
        for value in options:
            assert current_values(with_values(base, {name: value}), [name]) == {name: value}


def test_a_space_has_what_is_given_and_not_what_is_fixed() -> None:
    base = read_settings(
        TaggingSettings, None, ["train.learning_rate=0.5", "train.batch_tokens=77", "model.wide_dropout=0.9"]
    )
    space = search_space(base, {"model.hidden_size", "train.seed"})
    assert "model.hidden_size" not in space
    assert space["train.learning_rate"] == Interval(5e-4, 0.5, log=True)
    assert space["train.batch_tokens"] == Choices((512, 1024, 2048, 77))
    assert space["model.wide_dropout"] == Interval(0.0, 0.9)


def test_the_first_trial_is_what_was_given_and_what_is_fixed_stays(data: Path, run: Path) -> None:
    base = read_settings(TaggingSettings, None, [change.removeprefix("--set=") for change in QUICK])
    trials = report_of(run)["trials"]
    assert [trial["trial"] for trial in trials] == list(range(3))
    assert trials[0]["settings"] == current_values(base, search_space(base, FIXED))
    assert len({json.dumps(trial["settings"]) for trial in trials}) == 3
    for number, trial in enumerate(trials):
        assert not FIXED & set(trial["settings"])
        directory = run / f"search/trial-{number:04d}"
        assert {path.name for path in directory.iterdir()} == {"config.toml", "history.jsonl", "metrics.json"}
        own = read_settings(TaggingSettings, directory / "config.toml")
        assert current_values(own, FIXED) == current_values(base, FIXED)
        assert current_values(own, trial["settings"]) == trial["settings"]
        assert (own.data.train, own.data.test) == (str(data / "train.conll"), "")
        metrics = json.loads((directory / "metrics.json").read_text())
        assert list(metrics) == ["dev"]
        history = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
        assert trial["dev"] == metrics["dev"]["f1"]
        best = [line for line in history if line["best"]][-1]
        assert best["dev"]["f1"] == max(line["dev"]["f1"] for line in history)


def test_the_model_is_that_of_the_best_trial(data: Path, run: Path, tmp_path: Path) -> None:
    report = report_of(run)
    scores = [trial["dev"] for trial in report["trials"]]
    assert len(set(scores)) > 1
    assert report["best"] == scores.index(max(scores))
    best = run / f"search/trial-{report['best']:04d}"
    again = train_ner(read_settings(TaggingSettings, best / "config.toml"), tmp_path / "again", quiet=True)
    assert (tmp_path / "again/model.safetensors").read_bytes() == (run / "model.safetensors").read_bytes()
    metrics = json.loads((run / "metrics.json").read_text())
    assert again["dev"] == metrics["dev"] == json.loads((best / "metrics.json").read_text())["dev"]
    assert list(metrics) == ["dev", "test"]
    assert read_settings(TaggingSettings, run / "config.toml").data.test == str(data / "test.conll")


def test_test_is_read_at_the_end_alone(cli: Cli, data: Path, run: Path, tmp_path: Path) -> None:
    """A test file that can't be read makes only the final run fail, not the trials."""
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    (copy / "test.conll").write_bytes(b"\xff\xfe\xff\x00\xd8")
    refused(cli(*command(copy, tmp_path / "run", 2)), copy / "test.conll")
    assert len(list((tmp_path / "run/search").glob("trial-*/metrics.json"))) == 2
    before = files_of(tmp_path / "run/search")
    shutil.copy(data / "test.conll", copy)
    assert cli(*command(copy, tmp_path / "run", 2, "--resume")).status == 0
    assert files_of(tmp_path / "run/search") == before
    assert report_of(tmp_path / "run")["trials"] == report_of(run)["trials"][:2]


class Stop(Exception):
    """Stops a search from within a test."""


@pytest.mark.parametrize(
    "place", ["record_epoch 1", "record_epoch 4", "propose 3", "record 2", "cleanup 2", "record_epoch 7"]
)
def test_stopped_and_resumed(
    cli: Cli, data: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Stop in a trial, before one, before and after it is recorded, and in the final run: the result is the same."""
    from nlp_app.training.multirun import search
    from nlp_app.training.runs.directory import RunDirectory

    name, _, number = place.partition(" ")
    owner: Any = {"record_epoch": RunDirectory, "propose": Study, "record": Study, "cleanup": search}[name]
    attribute = "_cleanup" if name == "cleanup" else name
    real, calls = getattr(owner, attribute), 0

    def stopping(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        found = real(*arguments) if name == "record_epoch" else None
        if calls == int(number):
            raise Stop
        return found if name == "record_epoch" else real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(owner, attribute, stopping)
        with pytest.raises(Stop):
            cli(*command(data, tmp_path / "run", 3))
    assert not (tmp_path / "run/search.json").exists()
    journal = tmp_path / "run/search/journal.log"
    if journal.exists():  # what a process that is killed as it writes leaves behind
        journal.with_name("journal.log.lock").touch()
        with journal.open("ab") as file:
            file.write(b'{"op_code":4,"wor')
    assert cli(*command(data, tmp_path / "run", 3, "--resume")).status == 0
    assert result(tmp_path / "run") == result(run)


def test_a_search_goes_on_with_more_trials(cli: Cli, data: Path, run: Path, tmp_path: Path) -> None:
    assert cli(*command(data, tmp_path / "run", 2)).status == 0
    output = ("--output", tmp_path / "run")
    outcome = cli("train", "ner", *output, "--search", 3, "--resume", "--quiet")
    assert outcome.status == 0
    assert result(tmp_path / "run") == result(run)
    assert outcome.out.startswith("3 trials finished; ")
    assert "the best of many dev scores is optimistic" in outcome.out
    refused(
        cli(*command(data, tmp_path / "run", 3, "--resume", "--set=model.hidden_size=9")),
        "model.hidden_size = 9 (was 16)",
    )
    assert result(tmp_path / "run") == result(run)
    # A plain run in the same place leaves nothing of the search.
    files = ("--train", data / "train.conll", "--dev", data / "dev.conll")
    assert cli("train", "ner", *files, *output, "--quiet", *QUICK).status == 0
    assert not list((tmp_path / "run").glob("search*"))


@pytest.mark.numeric
def test_a_trial_that_fails_is_counted_and_the_search_goes_on(
    cli: Cli, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = cli(*command(data, tmp_path / "all", 2, "--set=train.learning_rate=1e30", "--set=train.max_grad_norm=0"))
    # Which comes first, a weight, a loss or a gradient that isn't finite, is the processor's doing.
    refused(
        outcome, "all 2 trials failed; the first: epoch ", ": found ", ", expected finite numbers; learning rates: "
    )
    assert not list((tmp_path / "all/search").glob("trial-*/*.safetensors"))

    from nlp_app.training.multirun import search_space

    monkeypatch.setattr(search_space, "_SPACES", {"bilstm_crf": {"train.learning_rate": Choices((1e30,))}})
    assert cli(*command(data, tmp_path / "run", 6, "--set=train.max_grad_norm=0")).status == 0
    trials = report_of(tmp_path / "run")["trials"]
    assert trials[0]["state"] == FINISHED
    failed = [trial for trial in trials if trial["settings"] == {"train.learning_rate": 1e30}]
    assert failed
    assert all(trial["state"] == FAILED and trial["dev"] is None and trial["error"] for trial in failed)
    assert sorted(path.name for path in (tmp_path / "run/search").glob("trial-*")) == [
        f"trial-{n:04d}" for n in range(6)
    ]


@settings(max_examples=30)
@given(
    st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), max_size=7),
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
)
def test_a_trial_is_stopped_when_it_is_below_the_median(
    tmp_path_factory: pytest.TempPathFactory, others: list[list[int]], mine: list[int]
) -> None:
    """From half of the epochs on, after five finished trials: its best score so far is compared with their median."""
    study = Study(
        tmp_path_factory.mktemp("study") / "journal.log",
        {"train.learning_rate": Interval(0, 1)},
        {"train.learning_rate": 0.5},
        1,
    )
    for scores in others:
        quarters = dict(zip(QUARTERS, map(float, scores), strict=True))
        study.record(Trial({"train.learning_rate": 0.5}, FINISHED, 1.0, 1.0, quarters))
    expected = None
    if len(others) >= 5:
        for quarter in range(2, len(mine) + 1):
            if max(mine[:quarter]) < statistics.median(scores[quarter - 1] for scores in others):
                expected = quarter
                break
    assert study.should_prune({quarter: float(score) for quarter, score in enumerate(mine, 1)}) == expected


def test_a_hopeless_trial_ends_early(cli: Cli, data: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    more = ("--set=train.epochs=8", "--set=train.learning_rate=1e-5", "--set=train.sparse_learning_rate=1e-5")
    assert cli(*command(data, output, 1, *more)).status == 0
    base = read_settings(TaggingSettings, output / "search/trial-0000/config.toml")
    fixed = json.loads((output / "search/plan.json").read_text())["asked"]["fixed"]
    space = search_space(base, fixed)
    study = Study(output / "search/journal.log", space, current_values(base, space), 42)
    for _ in range(5):
        study.record(Trial(study.propose(), FINISHED, 1.0, 1.0, dict.fromkeys(QUARTERS, 1.0)))
    assert cli(*command(data, output, 7, *more, "--resume")).status == 0
    last = report_of(output)["trials"][6]
    directory = output / "search/trial-0006"
    assert last["state"] == STOPPED
    history = [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2, 3, 4]
    assert {path.name for path in directory.iterdir()} == {"config.toml", "history.jsonl"}


def test_what_mattered_is_found(tmp_path: Path) -> None:
    space = {"train.learning_rate": Interval(1e-3, 1.0, log=True), "model.hidden_size": Choices((1, 2, 3))}
    study = Study(tmp_path / "journal.log", space, {"train.learning_rate": 0.1, "model.hidden_size": 2}, 1)
    for number in range(20):
        assert bool(study.importance()) == (number >= 4)
        values = study.propose()
        assert (
            Study(tmp_path / "journal.log", space, {"train.learning_rate": 0.1, "model.hidden_size": 2}, 1).propose()
            == values
        )
        study.record(Trial(values, FINISHED, -abs(math.log10(values["train.learning_rate"])), 1.0))
    importance = study.importance()
    assert list(importance) == ["train.learning_rate", "model.hidden_size"]
    assert importance["train.learning_rate"] > 0.8
    assert sum(importance.values()) == pytest.approx(1, abs=1e-3)
    # And it is found by searching: the best of twenty is closer to 1 than nearly all of its range.
    assert max(trial.values["train.learning_rate"] for trial in study.trials) > 0.5


@pytest.mark.slow
def test_classifiers_are_searched_over_too(cli: Cli, small_classes: Small, tmp_path: Path) -> None:
    files = ("--train", small_classes.train, "--test", small_classes.test, "--output", tmp_path / "run")
    outcome = cli("train", "cls", *files, "--search", 3, "--quiet", *SMALL_CLASSES, "--set=train.epochs=2")
    assert outcome.status == 0, outcome
    report = report_of(tmp_path / "run")
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["dev"]["weighted_f1"] == max(trial["dev"] for trial in report["trials"])
    assert set(report["trials"][0]["settings"]) == {
        "train.learning_rate", "train.wide_learning_rate", "model.ngram_dropout", "model.hidden_dropout"
    }  # fmt: skip
    assert "most often confused" in outcome.out or "gold" in outcome.out


def test_what_cannot_be_searched(
    cli: Cli, data: Path, small_classes: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "run"
    refused(cli(*command(data, output, 2, "--folds", 3)), "--search and --folds")
    refused(cli(*command(data, output, 2, "--train", tmp_path / "none.conll")), "none.conll")
    refused(cli(*command(data, output, 2, "--test", tmp_path / "none.conll")), "data.test", "none.conll")
    every = [
        f"--set={name}={value}"
        for name, value in current_values(TaggingSettings(), search_space(TaggingSettings(), ())).items()
    ]
    refused(cli(*command(data, output, 2, *every)), "--search: found every setting fixed")
    files = ("--train", small_classes.train, "--output", output, "--search", 2, "--quiet")
    refused(cli("train", "cls", *files, "--set=data.dev_share=0"), "needs dev data")
    monkeypatch.setitem(sys.modules, "optuna", None)
    refused(cli(*command(data, output, 2)), "pip install 'nlp-app[search]'")
    assert not output.exists()


def test_a_damaged_journal_is_named(cli: Cli, data: Path, tmp_path: Path) -> None:
    assert cli(*command(data, tmp_path / "run", 1)).status == 0
    journal = tmp_path / "run/search/journal.log"
    journal.write_text("{}\n")
    refused(cli(*command(data, tmp_path / "run", 2, "--resume")), journal)
