"""Adding labels and words to a tagger: predictions stay the same until it is trained, and nothing is forgotten."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, Outcome, Small, files_of, refused, sentences
from tiny_transformers import tiny_bert
from torch import nn

import nlp_app
from nlp_app.features.subwords.encoder import SubwordEncoder
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.inference import Tagger
from nlp_app.labels.schemes import NONE
from nlp_app.labels.tag_set import TagSet
from nlp_app.labels.transitions import allowed_transitions
from nlp_app.models import AnyTaggerParts, TaggerParts, read_model, write_model
from nlp_app.models.label_extension import add_labels, add_words
from nlp_app.models.transformers.models import TransformerTaggerParts
from nlp_app.models.transformers.pretrained import make_body, max_window_of_body, read_pretrained
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.nn.transformer import TransformerDimensions, TransformerTagger
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions
from nlp_app.text import BasicTokenizer

Cli = Callable[..., Outcome]
ABOUT: dict[str, Any] = {"data": {"agreement": {}}, "settings": {}}
NEW = ("EVENT", "AGE", "LOC.2")


def tokens(split: str, count: int) -> list[list[str]]:
    blocks = sentences(split, count).strip("\n").split("\n\n")
    return [[line.split(" ")[0] for line in block.split("\n")] for block in blocks]


SENTENCES = tokens("dev", 40)


def scattered(network: nn.Module, seed: int) -> None:
    """Weights so large that all tags are found somewhere."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "LayerNorm" not in name:
                nn.init.normal_(parameter, std=0.5)


def bilstm(scheme: str, seed: int = 1, layers: int = 1) -> TaggerParts:
    """A tagger that knows some of the words, with random weights."""
    tokenizer = BasicTokenizer()
    encoder = TaggingEncoder.fit(SENTENCES[:20], tokenizer.normalize)
    tag_set = TagSet(("LOC", "ORG", "PER"), scheme)
    dimensions = TaggerDimensions(norm=6, shape=4, part=5, hidden=7, layers=layers)
    network = WideBiLstmCrf(
        len(tag_set.tags), torch.from_numpy(tag_set.allowed), TableSizes(**encoder.sizes), dimensions
    )
    scattered(network, seed)
    with torch.no_grad():
        for table in (network.norms, network.shapes, network.parts, network.wide):
            table.weight[0].zero_()
    return TaggerParts(network.eval(), encoder, tag_set, tokenizer, ABOUT)


@pytest.fixture(scope="module")
def body(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT that knows the words of the bundled corpus."""
    words = {word for split, count in (("train", 2000), ("dev", 40)) for row in tokens(split, count) for word in row}
    return tiny_bert(tmp_path_factory.mktemp("tiny") / "bert", sorted(words))


def transformer(body: Path, scheme: str, head: str, lstm: int, legal: bool = True) -> TransformerTaggerParts:
    pretrained = read_pretrained(str(body))
    tag_set, dimensions = TagSet(("LOC", "ORG", "PER"), scheme), TransformerDimensions(head=head, lstm=lstm)
    made, _ = make_body(pretrained, "base" if lstm else "token", tag_set.tags)
    allowed = torch.from_numpy(tag_set.allowed) if legal else None
    network = TransformerTagger(made, len(tag_set.tags), allowed, dimensions)
    scattered(network, seed=3)
    encoder = SubwordEncoder(pretrained.tokenizer, max_window_of_body(pretrained), 5)
    return TransformerTaggerParts(
        network.eval(), encoder, tag_set, BasicTokenizer(), pretrained.files, ABOUT, legal=legal
    )


def check_grown(parts: AnyTaggerParts, directory: Path) -> None:
    """The old spans, hardly less or more likely than before, in a copy; and the same from a directory."""
    tagger = Tagger(parts)
    before = {name: value.clone() for name, value in parts.network.state_dict().items()}
    found, scored = tagger.token_spans(SENTENCES), tagger.scored_spans(SENTENCES)
    assert any(found)  # else nothing is shown
    grown = tagger.add_labels(NEW)
    assert grown.labels == (*tagger.labels, *NEW)
    assert grown.token_spans(SENTENCES) == found
    for old, new in zip(scored, grown.scored_spans(SENTENCES), strict=True):
        for (span, score), (same, other) in zip(old, new, strict=True):
            assert span == same
            assert abs(score - other) < 0.1
    assert tagger.labels == parts.tag_set.labels
    assert all(torch.equal(value, before[name]) for name, value in parts.network.state_dict().items())
    write_model(grown.parts, directory)
    loaded = nlp_app.load(directory, backend="torch")
    assert isinstance(loaded, Tagger)
    assert loaded.scored_spans(SENTENCES) == grown.scored_spans(SENTENCES)


@pytest.mark.parametrize("scheme", ["BIO", "BIOES", NONE])
def test_extended_bilstm_predicts_the_same(scheme: str, tmp_path: Path) -> None:
    check_grown(bilstm(scheme, layers=2), tmp_path / "grown")


@pytest.mark.parametrize("head", ["softmax", "crf"])
@pytest.mark.parametrize("lstm", [0, 5])
@pytest.mark.parametrize("scheme", ["BIO", "BIOES", NONE])
def test_extended_transformer_predicts_the_same(body: Path, scheme: str, lstm: int, head: str, tmp_path: Path) -> None:
    check_grown(transformer(body, scheme, head, lstm), tmp_path / "grown")


def test_tagger_that_allows_all_paths_keeps_allowing_them(body: Path, tmp_path: Path) -> None:
    parts = transformer(body, "BIO", "softmax", 0, legal=False)
    check_grown(parts, tmp_path / "grown")
    grown = add_labels(parts, NEW)
    assert not grown.legal
    assert bool(grown.network.crf.allowed.all())


def test_rows_are_matched_by_tag_name() -> None:
    parts = bilstm("BIOES")
    # Labels between the old ones and before them, as a set in another order would have it.
    shuffled = replace(parts, tag_set=TagSet(("ORG", "PER", "LOC"), "BIOES"))
    old, new = shuffled.network, add_labels(shuffled, ["AGE"]).network
    before, after = shuffled.tag_set.ids, TagSet(("ORG", "PER", "LOC", "AGE"), "BIOES").ids
    with torch.no_grad():
        for tag, row in before.items():
            assert torch.equal(new.tags.weight[after[tag]], old.tags.weight[row])
            assert torch.equal(new.tags.bias[after[tag]], old.tags.bias[row])
            assert torch.equal(new.wide.weight[:, after[tag]], old.wide.weight[:, row])
            assert new.crf.start[after[tag]] == old.crf.start[row]
            assert new.crf.end[after[tag]] == old.crf.end[row]
            for other, column in before.items():
                assert new.crf.transitions[after[tag], after[other]] == old.crf.transitions[row, column]
    expected = torch.from_numpy(allowed_transitions(list(after), "BIOES"))
    assert torch.equal(new.crf.allowed[:-1], expected[:-1])


def test_known_labels_change_nothing(tmp_path: Path) -> None:
    parts = bilstm("BIO")
    write_model(parts, tmp_path / "old")
    write_model(add_labels(parts, ["PER", "LOC"]), tmp_path / "same")
    assert files_of(tmp_path / "old") == files_of(tmp_path / "same")
    assert add_labels(parts, ["X", "PER", "X"]).tag_set.labels == ("LOC", "ORG", "PER", "X")


@pytest.mark.parametrize("labels", ["PRODUCT", [b"PRODUCT"], [None], ["A", 3]])
def test_labels_are_a_list_of_str(labels: Any) -> None:
    with pytest.raises(TypeError, match="add_labels takes a list of str, found"):
        Tagger(bilstm("BIO")).add_labels(labels)


@pytest.mark.parametrize(("min_count", "joint_min_count"), [(1, 1), (1, 2), (2, 2)])
def test_more_words_change_nothing_yet(min_count: int, joint_min_count: int) -> None:
    parts = bilstm("BIOES")
    wider = add_words(parts, SENTENCES[10:], min_count, joint_min_count)
    assert Tagger(wider).token_spans(SENTENCES) == Tagger(parts).token_spans(SENTENCES)
    with torch.inference_mode():
        for old, new in zip(scores(parts), scores(wider), strict=True):
            assert torch.allclose(old, new, atol=1e-5)
    before, after = parts.encoder.sizes, wider.encoder.sizes
    assert all(after[name] > before[name] for name in ("norms", "parts", "features"))
    assert wider.encoder.forms.vocabularies["norms"].row(SENTENCES[0][0].lower()) == parts.encoder.forms.vocabularies[
        "norms"
    ].row(SENTENCES[0][0].lower())


def scores(parts: TaggerParts) -> list[torch.Tensor]:
    columns = parts.encoder.encode(SENTENCES)
    found = []
    for start, end in zip(columns.offsets[:-1], columns.offsets[1:], strict=True):
        row = {name: torch.from_numpy(array[start:end]).unsqueeze(0) for name, array in columns.arrays.items()}
        found.append(parts.network.emissions(torch.ones(1, end - start, dtype=torch.bool), **row))
    return found


def test_an_encoder_extended_by_its_own_sentences_is_the_same() -> None:
    encoder = bilstm("BIO").encoder
    again = encoder.extended(SENTENCES[:20])
    assert again.sizes == encoder.sizes
    ours, theirs = encoder.encode(SENTENCES).arrays, again.encode(SENTENCES).arrays
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


# --- runs that go on from a model


def without(label: str, text: str) -> str:
    return re.sub(f" [BI]-{label}$", " O", text, flags=re.MULTILINE)


class Files(Small):
    """A model (`run`) that has never seen ORG, and data that have it."""


@pytest.fixture(scope="module")
def less(tmp_path_factory: pytest.TempPathFactory) -> Files:
    from nlp_app.cli import main

    directory = tmp_path_factory.mktemp("less")
    for name, count in (("train", 200), ("dev", 40), ("test", 40)):
        (directory / f"{name}.conll").write_text(sentences(name, count), encoding="utf-8")
        (directory / f"{name}-less.conll").write_text(without("ORG", sentences(name, count)), encoding="utf-8")
    files = [f"--{name}={directory / name}-less.conll" for name in ("train", "dev", "test")]
    learnt = ["--set=train.epochs=10", "--set=train.learning_rate=0.01", "--set=train.sparse_learning_rate=0.03"]
    main(["train", "ner", *files, f"--output={directory / 'run'}", "--quiet", *SMALL, *learnt])
    paths = [directory / f"{name}.conll" for name in ("train", "dev", "test")]
    return Files(*paths, directory / "run")


def go_on(cli: Cli, less: Files, output: Path, *more: object) -> Outcome:
    files = ("--train", less.train, "--dev", less.dev, "--test", less.test)
    return cli("train", "ner", *files, "--output", output, "--quiet", f"--set=model.initial_model={less.run}", *more)


SHORT = [
    f"--set=train.{change}"
    for change in ("epochs=8", "batch_tokens=256", "learning_rate=0.01", "sparse_learning_rate=0.03")
]


def per_type(run: Path, split: str = "dev") -> dict[str, float]:
    scores = json.loads((run / "metrics.json").read_text())[split]["per_type"]
    return {label: each["f1"] for label, each in scores.items()}


def test_a_new_type_is_learned_and_the_old_ones_stay(cli: Cli, less: Files, tmp_path: Path) -> None:
    before = per_type(less.run)
    assert go_on(cli, less, tmp_path / "run", *SHORT).status == 0
    after = per_type(tmp_path / "run")
    assert nlp_app.load(tmp_path / "run").labels == ("DATE", "LOC", "PER", "PRODUCT", "ORG")
    assert after["ORG"] > 0.2
    # A label has 7 to 15 spans here: one span more or less is much to it, little to their mean.
    assert fmean(after[label] for label in before) > fmean(before.values()) - 0.02
    assert all(after[label] > score / 2 for label, score in before.items())
    # What isn't said is as the model has it, and is written down.
    settings = (tmp_path / "run/config.toml").read_text(encoding="utf-8")
    assert "word_dim = 16\n" in settings
    assert f'initial_model = "{less.run}"' in settings


def test_data_of_some_labels_only(cli: Cli, less: Files, tmp_path: Path) -> None:
    """Training data without an old label keep it; dev may have it."""
    data = tmp_path / "some.conll"
    data.write_text(without("DATE", less.train.read_text(encoding="utf-8")), encoding="utf-8")
    assert go_on(cli, less, tmp_path / "run", *SHORT, "--train", data, "--set=train.epochs=1").status == 0
    assert "DATE" in nlp_app.load(tmp_path / "run").labels


def test_new_words_are_learned(cli: Cli, less: Files, tmp_path: Path) -> None:
    data = tmp_path / "words.conll"
    data.write_text("\n\n".join(["Zorblax O\nQuuxville B-LOC\nis O\nfar O"] * 30) + "\n\n", encoding="utf-8")
    often = "--set=train.batch_tokens=16"
    assert go_on(cli, less, tmp_path / "run", *SHORT, often, "--train", data, "--dev", data).status == 0
    old, new = (read_model(path) for path in (less.run, tmp_path / "run"))
    assert isinstance(old, TaggerParts)
    assert isinstance(new, TaggerParts)
    assert "quuxville" in new.encoder.forms.vocabularies["norms"]
    assert new.encoder.sizes["norms"] == old.encoder.sizes["norms"] + 2
    assert Tagger(new).tag_tokens([["Zorblax", "Quuxville"]]) == [["O", "B-LOC"]]


def test_loaded_parts_are_reported(cli: Cli, less: Files, tmp_path: Path) -> None:
    files = ("--train", less.train, "--dev", less.dev)
    outcome = cli(
        "train",
        "ner",
        *files,
        "--output",
        tmp_path / "run",
        f"--set=model.initial_model={less.run}",
        "--set=train.epochs=1",
    )
    assert f"{less.run}: labels kept: DATE, LOC, PER, PRODUCT; new: ORG; words: " in outcome.err


def test_run_resumes_only_from_the_same_model(cli: Cli, less: Files, tmp_path: Path) -> None:
    copied = shutil.copytree(less.run, tmp_path / "start", ignore=shutil.ignore_patterns("checkpoints"))
    change = f"--set=model.initial_model={copied}"
    one = ("--set=train.epochs=1", change)
    assert go_on(cli, less, tmp_path / "run", *one).status == 0
    assert go_on(cli, less, tmp_path / "run", *one, "--resume").status == 0
    write_model(add_labels(read_model(copied), ["X"]), copied)  # type: ignore[type-var]
    refused(go_on(cli, less, tmp_path / "run", *one, "--resume"), "nlp_app.json", "has changed since the run began")


def refusals(less: Files, classes: Path) -> Sequence[tuple[tuple[str, ...], tuple[str, ...]]]:
    return [
        (("model.word_dim=17",), ("model.initial_model", "model.word_dim = 16", "model.word_dim = 17")),
        (
            ("model.scheme=BIO", "model.num_layers=2"),
            ("model.scheme = 'BIOES'", "model.num_layers = 1", "model.num_layers = 2"),
        ),
        (("data.lower_case=false",), ("data.lower_case = True", "data.lower_case = False")),
        (("model.vectors=x.vec",), ("model.initial_model", "model.vectors")),
        (("model.lexicon=names",), ("model.initial_model", "model.lexicon")),
        (("model.clusters=yes",), ("model.initial_model", "model.clusters = 'no'", "model.clusters = 'yes'")),
        (("model.kind=transformer",), ("model.initial_model", "bilstm_crf", "transformer")),
        ((f"model.initial_model={classes}",), ("model.initial_model", "classifier")),
        ((f"model.initial_model={less.train}",), ("model.initial_model", "train.conll")),
        (("model.initial_model=nowhere",), ("model.initial_model", "no such directory")),
    ]


def test_errors_are_reported(cli: Cli, less: Files, small_classes: Small, tmp_path: Path) -> None:
    for changes, said in refusals(less, small_classes.run):
        refused(go_on(cli, less, tmp_path / "run", *(f"--set={change}" for change in changes)), *said)
    refused(go_on(cli, less, less.run), "model.initial_model", "--output")
    plain = tmp_path / "pos.conll"
    plain.write_text("a DET\nhouse NOUN\n\nthe DET\nsun NOUN\n\n", encoding="utf-8")
    files = [f"--{split}={plain}" for split in ("train", "dev", "test")]
    refused(go_on(cli, less, tmp_path / "run", *files), "model.initial_model", "labeled spans")
    assert not (tmp_path / "run").exists()


TRANSFORMER = [
    f"--set={change}"
    for change in (
        "model.kind=transformer", "train.batch_subwords=256", "train.learning_rate=0.005",
        "train.head_learning_rate=0.02",
        "train.checkpoint_seconds=0", "train.precision=no", "train.engine=loop",
        "train.layerwise_lr_decay=1.0",
    )
]  # fmt: skip


@pytest.mark.slow
def test_a_transformer_learns_a_new_type_too(cli: Cli, less: Files, body: Path, tmp_path: Path) -> None:
    data = tmp_path / "some.conll"
    data.write_text(sentences("train", 60), encoding="utf-8")
    fewer = tmp_path / "less.conll"
    fewer.write_text(without("ORG", sentences("train", 60)), encoding="utf-8")

    def train(path: Path, output: str, *changes: object) -> Outcome:
        return cli(
            "train", "ner", "--train", path, "--dev", path, "--output", tmp_path / output, "--quiet", *TRANSFORMER,
            *changes,
        )  # fmt: skip

    shape = ("--set=model.head=softmax", "--set=model.scheme=BIOES", "--set=model.window_subwords=40")
    assert train(fewer, "old", f"--set=model.pretrained={body}", *shape, "--set=train.epochs=25").status == 0
    start = f"--set=model.initial_model={tmp_path / 'old'}"
    outcome = train(data, "new", start, "--set=train.epochs=15")
    assert outcome.status == 0, outcome
    before, after = per_type(tmp_path / "old"), per_type(tmp_path / "new")
    assert after["ORG"] > 0.3
    assert all(after[label] > score - 0.1 for label, score in before.items())
    parts = read_model(tmp_path / "new")
    assert isinstance(parts, TransformerTaggerParts)
    assert (parts.network.dimensions.head, parts.tag_set.scheme, parts.encoder.window) == ("softmax", "BIOES", 40)
    refused(train(data, "run", start, f"--set=model.pretrained={body}"), "model.initial_model", "model.pretrained")
    refused(train(data, "run", start, "--set=model.replace_head=true"), "model.initial_model", "model.replace_head")
    refused(train(data, "run", start, "--set=model.head=crf"), "model.head = 'softmax'", "model.head = 'crf'")


@pytest.mark.slow
def test_transformers_model_is_trained_further(cli: Cli, less: Files, tmp_path: Path) -> None:
    """It has neither our description nor our tags: I-LOC, without B-."""
    directory = tiny_bert(tmp_path / "stock", ["Rome", "Anna"], "token", ["I-LOC", "O"])
    changes = [*TRANSFORMER, f"--set=model.initial_model={directory}", "--set=train.epochs=1"]
    files = (f"--train={less.dev}", f"--dev={less.dev}", f"--output={tmp_path / 'run'}")
    outcome = cli("train", "ner", *files, *changes)
    assert outcome.status == 0, outcome
    assert f"{directory}: labels kept: LOC; new: DATE, ORG, PER, PRODUCT" in outcome.err
    parts = read_model(tmp_path / "run")
    assert isinstance(parts, TransformerTaggerParts)
    assert parts.tag_set == TagSet(("LOC", "DATE", "ORG", "PER", "PRODUCT"), "BIO")
    assert not parts.legal
    (directory / "config.json").write_text((directory / "config.json").read_text().replace("I-LOC", "I-GPE"))
    assert cli("train", "ner", *files, *changes, "--quiet", "--resume").status == 2
