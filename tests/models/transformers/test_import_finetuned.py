"""Models that were fine-tuned with transformers: loading, and the meaning of their labels."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import files_of
from tiny_transformers import HEADS, TINY, tiny_bert
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    T5Config,
    T5ForTokenClassification,
    pipeline,
)

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.core.types import TokenSpan
from nlp_app.models import read_model, write_model
from nlp_app.models.transformers.import_finetuned import read_labels
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts

WORDS = [f"w{number}" for number in range(30)]
Entities = list[tuple[int, int, str]]


def louder(directory: Path) -> Path:
    """Embeddings and a head so large that different tokens get different labels."""
    torch.manual_seed(3)
    weights = safetensors.torch.load_file(directory / "model.safetensors")
    for name, value in weights.items():
        if "word_embeddings" in name or ("classifier" in name and name.endswith("weight")):
            weights[name] = torch.randn_like(value)
    safetensors.torch.save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def sentences() -> list[list[str]]:
    rng = random.Random(4)
    return [rng.choices(WORDS, k=rng.randint(1, 9)) for _ in range(60)]


def stock_tagger(directory: Path) -> Callable[[list[str]], list[str]]:
    """The label of each token's first piece, as the stock scripts read a model."""
    model = AutoModelForTokenClassification.from_pretrained(directory).eval()
    pieces = read_model(directory).encoder.tokenizer

    def tags(tokens: list[str]) -> list[str]:
        of_tokens = pieces.token_subwords(tokens, [True] * len(tokens))
        firsts = np.cumsum([len(pieces.prefix), *map(len, of_tokens[:-1])])
        ids = np.concatenate([pieces.prefix, *of_tokens, pieces.suffix]).astype(np.int64)
        with torch.inference_mode():
            best = model(input_ids=torch.from_numpy(ids)[None]).logits[0].argmax(-1)[firsts].tolist()
        return [model.config.id2label[number] for number in best]

    return tags


def conlleval(tags: Sequence[str]) -> Entities:
    """Entities of chunk tags as the CoNLL-2003 scorer counts them: written from its rules, B and I only."""
    found: list[list[Any]] = []
    for place, (before, tag) in enumerate(itertools.pairwise(("O", *tags))):
        if tag == "O":
            continue
        label = tag.partition("-")[2]
        if tag.startswith("B") or before == "O" or before.partition("-")[2] != label:
            found.append([place, place + 1, label])
        else:
            found[-1][1] = place + 1
    return [(start, end, label) for start, end, label in found]


def runs(tags: Sequence[str]) -> Entities:
    found: Entities = []
    place = 0
    for label, group in itertools.groupby(tags):
        length = len(list(group))
        if label != "O":
            found.append((place, place + length, label))
        place += length
    return found


def each(tags: Sequence[str]) -> Entities:
    return [(place, place + 1, tag) for place, tag in enumerate(tags)]


SETS: list[tuple[list[str], Callable[[Sequence[str]], Entities]]] = [
    (["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], conlleval),
    (["I-LOC", "B-PER", "O", "I-PER", "B-LOC"], conlleval),
    (["B-LOC", "I-LOC", "I-PER", "O"], conlleval),  # IOB1, whose B- some types never need
    (["I-PER", "I-LOC", "O"], conlleval),
    (["O", "B", "I"], conlleval),
    (["B", "I", "O"], conlleval),
    (["PER", "O", "LOC"], runs),
    (["O", "COMMA", "PERIOD", "S-bahn"], runs),
    (["NOUN", "VERB", "ADJ", "X"], each),
    (["LABEL_0", "LABEL_1", "LABEL_2"], each),
    (["0", ".", ","], each),
]


@pytest.mark.parametrize(("labels", "reading"), SETS, ids=[" ".join(labels) for labels, _ in SETS])
def test_labels_of_a_tagger_are_read_in_their_scheme(
    tmp_path: Path, labels: list[str], reading: Callable[[Sequence[str]], Entities]
) -> None:
    directory = louder(tiny_bert(tmp_path / "stock", WORDS, "token", labels))
    tagger, stock_tags = nlp_app.load(directory), stock_tagger(directory)
    assert isinstance(tagger, nlp_app.Tagger)
    everything = []
    for tokens in sentences():
        tags = stock_tags(tokens)
        expected = [TokenSpan(*entity) for entity in reading(tags)]
        (found,) = tagger.scored_spans([tokens])
        assert [span for span, _ in found] == expected
        assert all(0 < score <= 1.0000001 for _, score in found)
        everything += tags
    assert set(everything) == set(labels)
    # And so it stays, saved as one of ours.
    write_model(tagger.parts, tmp_path / "ours")
    again = nlp_app.load(tmp_path / "ours")
    assert again.scored_spans(sentences()) == tagger.scored_spans(sentences())
    write_model(again.parts, tmp_path / "twice")
    assert files_of(tmp_path / "twice") == files_of(tmp_path / "ours")


def test_only_valid_paths_of_a_known_scheme(tmp_path: Path) -> None:
    labels = ["E-PER", "O", "S-LOC", "B-PER", "I-PER", "B-LOC", "S-PER", "I-LOC", "E-LOC"]
    directory = louder(tiny_bert(tmp_path, WORDS, "token", labels))
    tagger, stock_tags = nlp_app.load(directory), stock_tagger(directory)
    assert tagger.parts.tag_set.scheme == "BIOES"
    tags = tagger.parts.tag_set
    assert tags.labels == ("LOC", "PER")
    legal = wrong = 0
    for tokens in sentences():
        found = stock_tags(tokens)
        path = [tags.ids[tag] for tag in found]
        ends = [len(tags.tags), *path, len(tags.tags) + 1]
        if all(tags.allowed[pair] for pair in itertools.pairwise(ends)):
            assert tagger.token_spans([tokens])[0] == tags.spans(path)
            legal += 1
        else:
            wrong += 1
    assert legal
    assert wrong


def test_a_raw_text_keeps_its_offsets(tmp_path: Path) -> None:
    tagger = nlp_app.load(louder(tiny_bert(tmp_path, WORDS, "token", ["A", "O"])))
    text = "w1  w2,\u200bw3 北京 w30😀"
    spans = tagger.tag(text)
    assert spans
    assert all(text[span.start : span.end] == span.text for span in spans)


def test_rows_without_a_label_are_ignored(tmp_path: Path) -> None:
    labels = ["[PAD]", "O", "B-PER", "I-PER", "X", "[CLS]", "[SEP]"]
    tagger = nlp_app.load(louder(tiny_bert(tmp_path, WORDS, "token", labels)))
    assert tagger.labels == ("PER",)
    assert {tag for tags in tagger.tag_tokens(sentences()) for tag in tags} == {"O", "B-PER", "I-PER"}


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("labels", [["b", "a", "c"], ["LABEL_0", "LABEL_1"], [f"LABEL_{n}" for n in range(12)]])
def test_a_classifier_gives_transformers_probabilities(tmp_path: Path, family: str, labels: list[str]) -> None:
    directory = louder(TINY[family](tmp_path / "stock", WORDS, "sequence", labels))
    classifier = nlp_app.load(directory)
    assert classifier.labels == tuple(sorted(labels))
    texts = [" ".join(tokens) for tokens in sentences()[:8]]
    found = pipeline("text-classification", model=str(directory), top_k=None, function_to_apply="softmax")(texts)
    for scores, ours in zip(found, classifier.classify(texts, top_k=len(labels)), strict=True):
        expected = {score["label"]: pytest.approx(score["score"], abs=1e-5) for score in scores}
        assert {label.label: label.score for label in ours} == expected
    write_model(classifier.parts, tmp_path / "ours")
    assert nlp_app.load(tmp_path / "ours").classify(texts) == classifier.classify(texts)


def test_a_classifier_of_several_labels(tmp_path: Path) -> None:
    directory = louder(
        tiny_bert(tmp_path, WORDS, "sequence", ["b", "a", "c"], problem_type="multi_label_classification")
    )
    classifier = nlp_app.load(directory)
    assert classifier.multi_label
    texts = [" ".join(tokens) for tokens in sentences()]
    found = pipeline("text-classification", model=str(directory), top_k=None, function_to_apply="sigmoid")(texts)
    for scores, ours in zip(found, classifier.classify(texts), strict=True):
        assert {label.label for label in ours} == {score["label"] for score in scores if score["score"] >= 0.5}


def test_a_tagger_in_half_precision(tmp_path: Path) -> None:
    directory = louder(tiny_bert(tmp_path, WORDS, "token", ["O", "A"]))
    AutoModelForTokenClassification.from_pretrained(directory).half().save_pretrained(directory)
    assert nlp_app.load(directory).parts.network.body.dtype == torch.float32


def change(**changes: Any) -> Callable[[Path], None]:
    def act(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return act


def names(*labels: str) -> Callable[[Path], None]:
    return change(id2label={str(number): label for number, label in enumerate(labels)})


def body_alone(directory: Path) -> None:
    HEADS["base"].from_pretrained(directory).save_pretrained(directory)


def without_head(directory: Path) -> None:
    weights = safetensors.torch.load_file(directory / "model.safetensors")
    safetensors.torch.save_file({n: w for n, w in weights.items() if "bert." in n}, directory / "model.safetensors")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (names("O", "A", "B"), "id2label has 3 labels, classifier.* 2 rows"),
        (names("O", "O"), "found a label twice in id2label"),
        (change(id2label={"0": "O", "5": "A"}), "expected 0 to 1"),
        (names("B-PER", "Q-PER"), None),
        (body_alone, "BertModel neither tags nor classifies; fine-tune it first"),
        (change(architectures=None), "a model neither tags nor classifies"),
        (change(architectures=["BertForMaskedLM"]), "BertForMaskedLM neither"),
        (without_head, "missing 2 of its weights, for example classifier.bias"),
        (change(num_hidden_layers=3), "missing 16 of its weights"),
        (lambda directory: (directory / "tokenizer.json").unlink(), "found no tokenizer.json"),
        (lambda directory: (directory / "model.safetensors").unlink(), "found no model.safetensors"),
    ],
)
def test_unusable_models(tmp_path: Path, fault: Callable[[Path], None], said: str | None) -> None:
    directory = tiny_bert(tmp_path, WORDS, "token", ["O", "A"])
    fault(directory)
    if said is None:
        assert nlp_app.load(directory).parts.tag_set.scheme == "none"
        return
    with pytest.raises(ModelError, match=said) as caught:
        nlp_app.load(directory)
    assert "\n" not in str(caught.value)


def test_regression_model_is_not_a_classifier(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="a number, not classes"):
        nlp_app.load(tiny_bert(tmp_path, WORDS, "sequence", ["LABEL_0"]))


@pytest.mark.parametrize(
    "labels", [["O", "B-PER", "I-PER", "LOC"], ["O", "B-PER", "L-PER", "E-PER"], ["O", "I-A", "MISC", "PER", "LOC"]]
)
def test_labels_of_mixed_schemes(labels: list[str]) -> None:
    with pytest.raises(ModelError, match="correct the names in id2label"):
        read_labels(labels, Path("model"))


def test_kinds_of_parts(tmp_path: Path) -> None:
    tagger = read_model(tiny_bert(tmp_path / "a", WORDS, "token"))
    classifier = read_model(tiny_bert(tmp_path / "b", WORDS, "sequence"))
    assert isinstance(tagger, TransformerTaggerParts)
    assert isinstance(classifier, TransformerClassifierParts)
    assert classifier.decision.temperature == 1
    assert classifier.decision.thresholds is None
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path / "b").state_dict()
    assert all(np.array_equal(stock[name], value) for name, value in classifier.weights().items())


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    """T5 has one table under several names, and writes it once."""
    directory = tiny_bert(tmp_path / "stock", WORDS, "token", ["O", "A"])
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = T5Config(**sizes, vocab_size=300, id2label={0: "O", 1: "A"}, label2id={"O": 0, "A": 1})
    T5ForTokenClassification(config).save_pretrained(directory)
    tagger = nlp_app.load(directory)
    write_model(tagger.parts, tmp_path / "ours")
    again = nlp_app.load(tmp_path / "ours")
    assert again.scored_spans(sentences()) == tagger.scored_spans(sentences())
    body = again.parts.network.body
    assert body.transformer.shared.weight is body.transformer.encoder.embed_tokens.weight
