"""The scripts of docs/trainer.md do what they say; their models are worth as much as those of `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import class_rows, sentences, write_csv
from documents import ROOT, blocks

import nlp_app
from nlp_app.metrics.spans import score_spans
from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.nn.embedding_bag import EmbeddingSum
from nlp_app.nn.hf_trainer_models import ClassifierForTrainer, TaggerForTrainer

SCRIPTS = {
    name: block.text
    for name, block in zip(("tagger", "classifier"), blocks(ROOT / "docs/trainer.md", "python"), strict=True)
}


@pytest.fixture
def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a script of the page in an empty directory; its names when it is done, and what it printed last."""
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 150), ("dev", 40)):
        Path(f"{split}.conll").write_text(sentences(split, count), encoding="utf-8")
    write_csv(Path("train.csv"), class_rows("train", 500))

    def run(name: str) -> tuple[dict[str, Any], str]:
        names: dict[str, Any] = {}
        exec(compile(SCRIPTS[name], f"docs/trainer.md: {name}", "exec"), names)  # noqa: S102
        return names, capsys.readouterr().out.splitlines()[-1]

    return run


def test_the_tagger(execute: Any) -> None:
    names, printed = execute("tagger")
    tagger, dev, tag_set = nlp_app.load("my-tagger"), names["dev"], names["tag_set"]
    found = tagger.token_spans([sentence.tokens for sentence in dev])
    f1 = score_spans(tag_set, dev, found)["f1"]
    # What `compute_metrics` saw are the paths of the model that was written.
    assert float(printed) == pytest.approx(f1, abs=1e-9)
    assert f1 > 0.2
    losses = [line["loss"] for line in names["trainer"].state.log_history if "loss" in line]
    assert losses == sorted(losses, reverse=True)
    assert not list(Path("trainer").rglob("*"))


@pytest.mark.parametrize("is_sorted", [False, True])
def test_the_classifier(execute: Any, is_sorted: bool) -> None:
    if is_sorted:
        rows = class_rows("train", 500)
        write_csv(Path("train.csv"), sorted([*rows, *rows[:50]], key=lambda row: row[1]))
    names, printed = execute("classifier")
    held_out, texts, targets = names["held_out"], names["texts"], names["targets"]
    assert 0.15 < held_out / len(texts) < 0.25
    assert not set(texts[:held_out]) & set(texts[held_out:])
    most = np.bincount(targets[:held_out]).max() / held_out
    assert float(printed) > most + 0.1
    classifier = nlp_app.load("my-classifier")
    found = classifier.classify(texts[:held_out])
    right = np.mean([label.label == names["labels"][row] for row, label in enumerate(found)])
    assert right == pytest.approx(float(printed), abs=1.5 / held_out)
    assert not list(Path("trainer").rglob("*"))


class Emissions(torch.nn.Module):
    """A tagger of nothing but a table of scores, sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.table = EmbeddingSum(9, 3)
        self.crf = LinearChainCRF(3)
        torch.nn.init.normal_(self.table.weight)
        torch.nn.init.normal_(self.crf.transitions)

    def emissions(self, mask: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.table(ids.unsqueeze(-1))
        return found

    def forward(self, tags: torch.Tensor, mask: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return -self.crf(self.emissions(mask, ids), tags, mask).sum()


def test_a_tagger_gives_the_mean_loss_and_the_best_paths() -> None:
    torch.manual_seed(0)
    network = Emissions()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    ids = torch.randint(1, 9, (2, 3)) * mask
    labels = torch.tensor([[0, 2, 1], [1, -100, -100]])
    model = TaggerForTrainer(network)
    training = model(labels=labels, mask=mask, ids=ids)
    assert training.keys() == {"loss"}
    training["loss"].backward()
    assert network.table.weight.grad is not None
    assert not network.table.weight.grad.is_sparse
    once = network.table.weight.grad.clone()
    model(labels=labels, mask=mask, ids=ids)["loss"].backward()
    torch.testing.assert_close(network.table.weight.grad, 2 * once)
    each = [
        network(labels[row : row + 1, :n], mask[row : row + 1, :n], ids[row : row + 1, :n])
        for row, n in ((0, 3), (1, 1))
    ]
    torch.testing.assert_close(training["loss"], sum(each) / 4)
    with torch.no_grad():
        found = model.eval()(labels=labels, mask=mask, ids=ids)
        # Of all 27 paths of the first row, the one of the least loss.
        paths = torch.cartesian_prod(*[torch.arange(3)] * 3)
        losses = [network(path[None], mask[:1], ids[:1]).item() for path in paths]
    assert found["paths"][0].tolist() == paths[int(np.argmin(losses))].tolist()
    assert found["paths"][1, 1:].tolist() == [-100, -100]
    torch.testing.assert_close(found["logits"], network.emissions(mask, ids))


def test_trainer_may_not_pass_its_count_of_items() -> None:
    assert TaggerForTrainer.accepts_loss_kwargs is ClassifierForTrainer.accepts_loss_kwargs is False
