"""Steps after the training of a tagger: quantization, and an outside bias tuned for dev F1."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, Outcome, Small, files_of
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from seqeval.metrics.sequence_labeling import get_entities

import nlp_app
from nlp_app.core.types import Sentence
from nlp_app.data.tagging.corpus import CorpusOptions, read_corpus
from nlp_app.inference import Tagger
from nlp_app.labels.schemes import encode
from nlp_app.models import TaggerParts, read_model
from nlp_app.models.directory import WEIGHTS
from nlp_app.models.quantization import quantize
from nlp_app.text import BasicTokenizer
from nlp_app.training.tagging.outside_bias import SHIFTS, best_outside_bias, tune_outside_bias

Cli = Callable[..., Outcome]
Weights = dict[str, torch.Tensor]
Counts = NDArray[np.float64]


def cautious_gains(right: Counts, both: Counts) -> list[float]:
    """By numbers alone: F1 of weighted sentences, and how it moves with each weight (the infinitesimal jackknife)."""

    def f1(shift: int, weights: Counts) -> float:
        total = float(weights @ both[shift])
        return float(2 * weights @ right[shift] / total) if total else 0.0

    ones, small = np.ones(right.shape[1]), 1e-4
    moves = [
        [
            (f1(shift, ones + small * unit) - f1(shift, ones - small * unit)) / (2 * small)
            for unit in np.eye(right.shape[1])
        ]
        for shift in range(len(SHIFTS))
    ]
    return [f1(shift, ones) - f1(0, ones) - math.dist(moves[shift], moves[0]) for shift in range(len(SHIFTS))]


counts = st.lists(
    st.tuples(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=7, max_size=7), st.integers(0, 4)),
    min_size=1,
    max_size=12,
)


@given(counts)
def test_the_best_shift(sentences: list[tuple[list[tuple[int, int]], int]]) -> None:
    right = np.array([[min(r, gold) for r, _ in shifts] for shifts, gold in sentences], dtype=float).T
    both = right + np.array([[more + gold for _, more in shifts] for shifts, gold in sentences], dtype=float).T
    gains = cautious_gains(right, both)
    chosen = best_outside_bias(right, both)
    assert gains[SHIFTS.index(chosen)] >= max(gains) - 1e-6
    assert gains[SHIFTS.index(chosen)] >= 0


def test_what_changes_nothing_or_may_be_luck_is_not_followed() -> None:
    both = np.full((len(SHIFTS), 50), 4.0)
    right = np.ones_like(both)
    assert best_outside_bias(right, both) == 0
    right[3, :2], right[3, 2] = 2, 0  # two sentences are better and one is worse
    assert best_outside_bias(right, both) == 0
    right[4, :10] = 2
    assert best_outside_bias(right, both) == SHIFTS[4]
    assert best_outside_bias(0 * right, 0 * both) == 0


def read(path: Path) -> list[Sentence]:
    return read_corpus(path, CorpusOptions(tokenizer=BasicTokenizer())).sentences


def weights_of(parts: TaggerParts) -> Weights:
    return {name: value.clone() for name, value in parts.network.state_dict().items()}


def with_bias(parts: TaggerParts, change: float) -> TaggerParts:
    """A copy that gives O so much more."""
    changed = copy.deepcopy(parts)
    with torch.no_grad():
        changed.network.tags.bias[changed.tag_set.ids["O"]] += change
    return changed


def brute_force(parts: TaggerParts, sentences: list[Sentence]) -> float:
    """Tag everything with each of the shifted models, and let seqeval find the entities."""
    gold = [set(get_entities(encode(sentence.spans or [], len(sentence), "BIO"))) for sentence in sentences]
    right, both = np.zeros((2, len(SHIFTS), len(sentences)))
    for number, shift in enumerate(SHIFTS):
        tags = Tagger(with_bias(parts, -shift)).tag_tokens([sentence.tokens for sentence in sentences])
        for place, (wanted, found) in enumerate(zip(gold, map(set, map(get_entities, tags)), strict=True)):
            right[number, place] = len(wanted & found)
            both[number, place] = len(wanted) + len(found)
    gains = cautious_gains(right, both)
    return SHIFTS[max(range(len(SHIFTS)), key=lambda number: round(gains[number], 7))]


def check_shifted(before: Weights, after: Weights, outside: int, shift: float) -> None:
    """The score of O is lower by the shift, and nothing else is different."""
    assert before.keys() == after.keys()
    for name, old in before.items():
        expected = old.clone()
        if name == "tags.bias":
            expected[outside] -= shift
        assert torch.equal(after[name], expected), name


@pytest.mark.parametrize("more", [-2.0, 0.0, 1.5, 4.0])
@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_shift_is_that_of_brute_force(small: Small, split: str, more: float) -> None:
    trained = read_model(small.run)
    assert isinstance(trained, TaggerParts)
    parts, sentences = with_bias(trained, more), read(getattr(small, split))
    before = weights_of(parts)
    expected = brute_force(parts, sentences)
    assert tune_outside_bias(parts, sentences) == expected
    check_shifted(before, weights_of(parts), parts.tag_set.ids["O"], expected)
    if more > 1:
        assert expected > 0
    assert all(
        parameter.requires_grad or name == "vectors.weight" for name, parameter in parts.network.named_parameters()
    )


# --- runs


def train(cli: Cli, small: Small, output: Path, *changes: str) -> Path:
    files = ("--train", small.train, "--dev", small.dev, "--test", small.test)
    outcome = cli("train", "ner", *files, "--output", output, "--quiet", *SMALL, *(f"--set={each}" for each in changes))
    assert (outcome.status, outcome.err) == (0, "")
    return output


def parts_of(run: Path) -> TaggerParts:
    parts = read_model(run)
    assert isinstance(parts, TaggerParts)
    return parts


def metrics_of(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "metrics.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def completed(small: Small, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same run, with both things done after it, without the shift, and with nothing done."""
    from nlp_app.config import TaggingSettings, read_settings
    from nlp_app.training import train_ner

    directory = tmp_path_factory.mktemp("completed")
    as_trained = ["train.tune_outside_bias=false", "model.quantize=false"]
    for name, changes in (("both", []), ("compact", as_trained[:1]), ("plain", as_trained)):
        given = [change.removeprefix("--set=") for change in SMALL]
        given += [f"data.{split}={getattr(small, split)}" for split in ("train", "dev", "test")]
        settings = read_settings(TaggingSettings, None, [*given, "train.learning_rate=0.005", *changes])
        train_ner(settings, directory / name, quiet=True)
    return {path.name: path for path in directory.iterdir()}


def test_a_run_is_compacted_then_shifted(small: Small, completed: dict[str, Path]) -> None:
    plain, compacted, both = (parts_of(completed[name]) for name in ("plain", "compact", "both"))
    made = quantize(plain)
    check_shifted(weights_of(made), weights_of(compacted), 0, 0.0)
    assert made.encoder.index.keys.tolist() == compacted.encoder.index.keys.tolist()
    sizes = [(completed[name] / WEIGHTS).stat().st_size for name in ("plain", "compact", "both")]
    assert sizes[0] > 2 * sizes[1] > sizes[2]
    shift = brute_force(compacted, read(small.dev))
    assert shift != 0  # else nothing is shown
    check_shifted(weights_of(compacted), weights_of(both), both.tag_set.ids["O"], shift)


@pytest.mark.parametrize("name", ["both", "compact", "plain"])
def test_what_is_scored_is_what_is_saved(cli: Cli, small: Small, completed: dict[str, Path], name: str) -> None:
    metrics = metrics_of(completed[name])
    for split in ("dev", "test"):
        outcome = cli("evaluate", completed[name], getattr(small, split), "--json", "--quiet")
        scores = json.loads(outcome.out)
        del scores["gold"]
        assert scores == metrics[split]
    blocks = (completed[name] / "predictions.conll").read_text(encoding="utf-8").strip("\n").split("\n\n")
    rows = [[line.split(" ") for line in block.split("\n")] for block in blocks]
    tagger = nlp_app.load(completed[name])
    assert isinstance(tagger, Tagger)
    assert tagger.tag_tokens([[row[0] for row in each] for each in rows]) == [[row[2] for row in each] for each in rows]


def test_a_finished_run_is_not_shifted_again(cli: Cli, completed: dict[str, Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(completed["both"], tmp_path / "run"))
    before = files_of(run)
    for _ in range(2):
        assert cli("train", "ner", "--output", run, "--resume", "--quiet").status == 0
        assert files_of(run) == before


def test_a_run_whose_last_epochs_have_no_checkpoint_ends_with_the_same(cli: Cli, small: Small, tmp_path: Path) -> None:
    """Resumed, it trains those again, and finds the best epoch finished or does it anew."""
    run = train(cli, small, tmp_path / "run", "train.checkpoint_seconds=1000", "train.learning_rate=0.005")
    before = files_of(run)
    assert cli("train", "ner", "--output", run, "--resume", "--quiet").status == 0
    for name, content in before.items():
        if not name.startswith(("history.jsonl", "checkpoints")):
            assert files_of(run)[name] == content, name


def test_without_dev_nothing_is_shifted(cli: Cli, small: Small, tmp_path: Path) -> None:
    found = []
    for shift in ("true", "false"):
        changes = ("--set=data.dev_share=0", f"--set=train.tune_outside_bias={shift}")
        files = ("--train", small.train, "--test", small.test)
        assert cli("train", "ner", *files, "--output", tmp_path / shift, "--quiet", *SMALL, *changes).status == 0
        found.append((tmp_path / shift / WEIGHTS).read_bytes())
    assert found[0] == found[1]


def test_labels_of_tokens_have_no_outside(cli: Cli, tmp_path: Path) -> None:
    """Not even where a label is called O."""
    words = {"the": "DET", "cat": "O", "sees": "VERB", "a": "DET", "dog": "NOUN"}
    orders = ["the cat sees a dog", "a dog sees the cat", "the dog sees"]
    blocks = [
        "".join(f"{n}\t{w}\t_\t{words[w]}\t_\t_\t_\t_\t_\t_\n" for n, w in enumerate(order.split(), 1))
        for order in orders
    ]
    data = tmp_path / "a.conllu"
    data.write_text("\n".join(blocks * 8) + "\n")
    found = []
    for more in ("true", "false"):
        changes = (f"--set=train.tune_outside_bias={more}",)
        files = ("--train", data, "--dev", data, "--output", tmp_path / more)
        outcome = cli("train", "ner", *files, *SMALL, *changes)
        assert outcome.status == 0
        assert "score of O" not in outcome.err
        found.append((tmp_path / more / WEIGHTS).read_bytes())
    assert found[0] == found[1]
