"""The networks in NumPy against those in torch, for every kind of model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import sentences as corpus
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from small_classifiers import LABELS, SHAPES, TEXTS, classifier_parts

from nlp_app.core.types import Span
from nlp_app.features.pretrained_vectors import VectorWords
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.inference import Classifier, Tagger, token_windows
from nlp_app.inference.class_scores import predict_scores
from nlp_app.inference.tag_scores import tag_marginals
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import NumpyClassifierParts, NumpyTaggerParts, TaggerParts, read_numpy_model, write_model
from nlp_app.models.quantization import quantize
from nlp_app.models.tagger import to_torch
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions
from nlp_app.runtime import classifier as runtime_classifier
from nlp_app.runtime import convolution
from nlp_app.storage.ragged import RaggedColumns, collate
from nlp_app.text import BasicTokenizer
from nlp_app.text.vocab import SPECIALS, Vocabulary

pytestmark = pytest.mark.numeric


def tokens(split: str, count: int) -> list[list[str]]:
    """Sentences of the bundled corpus."""
    blocks = corpus(split, count).strip("\n").split("\n\n")
    return [[line.split(" ")[0] for line in block.split("\n")] for block in blocks]


SENTENCES = tokens("dev", 40)

KINDS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"layers": 2},
    "three layers": {"layers": 3, "hidden": 5},
    "vectors": {"vector": 4},
    "clusters": {"vector": 4, "clusters": True},
    "compact": {"compact": True},
    "compact with vectors": {"compact": True, "vector": 4},
    "padding with weights": {"padding": True},
    "no scheme": {"scheme": "none"},
}


def tagger_parts(kind: str) -> TaggerParts:
    """A tagger with random weights."""
    options = dict(KINDS[kind])
    clusters, compact, padding, scheme = (
        options.pop(name, default)
        for name, default in (("clusters", False), ("compact", False), ("padding", False), ("scheme", "BIOES"))
    )
    vectors = None
    if options.get("vector"):
        words = sorted({word.lower() for sentence in SENTENCES[:9] for word in sentence})
        rows = len(words) + len(SPECIALS)
        ids = np.random.default_rng(2).integers(2, 9, (rows, 3)).astype(np.int32) if clusters else None
        vectors = VectorWords(Vocabulary(words), ids)
    tokenizer = BasicTokenizer()
    encoder = TaggingEncoder.fit(SENTENCES[:20], tokenizer.normalize, vectors=vectors)
    tag_set, sizes = TagSet(("LOC", "ORG", "PER"), scheme), TableSizes(**encoder.sizes)
    dimensions = TaggerDimensions(**({"norm": 6, "shape": 4, "part": 5, "hidden": 7} | options))
    torch.manual_seed(1)
    network = WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5)
        if not padding:
            for table in (network.norms, network.shapes, network.parts, network.wide):
                table.weight[0].zero_()
    parts = TaggerParts(network.eval(), encoder, tag_set, tokenizer, {"data": {"agreement": {}}, "settings": {}})
    return quantize(parts) if compact else parts


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Tagger, Tagger]:
    """The same tagger in torch and in NumPy."""
    parts, directory = tagger_parts(request.param), tmp_path_factory.mktemp("model")
    write_model(parts, directory)
    read = read_numpy_model(directory)
    assert isinstance(read, NumpyTaggerParts)
    return Tagger(parts), Tagger(read)


def torch_emissions(parts: TaggerParts, columns: RaggedColumns, rows: list[int]) -> NDArray[np.float32]:
    batch = {name: torch.from_numpy(array) for name, array in collate(columns, rows).items()}
    with torch.inference_mode():
        emissions: NDArray[np.float32] = parts.network.emissions(**batch).numpy()
    return emissions


def test_emissions_of_batches_and_of_single_sentences(pair: tuple[Tagger, Tagger]) -> None:
    full, lean = (tagger.parts for tagger in pair)
    assert isinstance(full, TaggerParts)
    assert isinstance(lean, NumpyTaggerParts)
    columns = full.encoder.encode(SENTENCES)
    for rows in (list(range(len(SENTENCES))), *([row] for row in range(len(SENTENCES)))):
        batch = collate(columns, rows)
        lengths = columns.lengths[rows]
        expected, found = torch_emissions(full, columns, rows), lean.network.emissions(batch, lengths)
        np.testing.assert_allclose(found[batch["mask"]], expected[batch["mask"]], rtol=0, atol=2e-5)
        if len(rows) == 1:
            np.testing.assert_allclose(lean.network.emissions(batch), expected, rtol=0, atol=2e-5)


def essence(spans: list[Span]) -> list[tuple[int, int, str, str]]:
    return [(span.start, span.end, span.label, span.text) for span in spans]


@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=8), seed=st.integers(0, 999))
def test_paths_spans_and_scores(pair: tuple[Tagger, Tagger], lengths: list[int], seed: int) -> None:
    full, lean = pair
    words = [word for sentence in SENTENCES for word in sentence]
    random = np.random.default_rng(seed)
    sentences = [[words[index] for index in random.integers(0, len(words), length)] for length in lengths]
    assert lean.tag_tokens(sentences) == full.tag_tokens(sentences)
    assert [lean.tag_tokens([sentence])[0] for sentence in sentences] == full.tag_tokens(sentences)
    for ours, theirs in zip(lean.scored_spans(sentences), full.scored_spans(sentences), strict=True):
        assert [span for span, _ in ours] == [span for span, _ in theirs]
        assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-5)
    texts = [" ".join(sentence) for sentence in sentences]
    assert [essence(spans) for spans in lean.tag(texts)] == [essence(spans) for spans in full.tag(texts)]
    for one, other in zip(tag_marginals(lean.parts, sentences), tag_marginals(full.parts, sentences), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


def test_long_sentences_are_read_in_windows(pair: tuple[Tagger, Tagger], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_windows, "LONGEST_SENTENCE", 60)
    monkeypatch.setattr(token_windows, "_SHARED_TOKENS", 20)
    full, lean = pair
    long = [word for sentence in SENTENCES for word in sentence][:500]
    for length in (3, 60, 61, 500):
        assert lean.tag_tokens([long[:length]]) == full.tag_tokens([long[:length]])


def test_scores_beyond_the_scaled_range(pair: tuple[Tagger, Tagger]) -> None:
    full, _ = pair
    assert isinstance(full.parts, TaggerParts)
    weights = {name: tensor.numpy().copy() for name, tensor in full.parts.network.state_dict().items()}
    weights["tags.weight"] *= 400
    parts = NumpyTaggerParts(
        type(pair[1].parts.network)(weights, full.parts.network.dimensions),  # type: ignore[arg-type]
        full.parts.encoder, full.parts.tag_set, full.parts.tokenizer, full.parts.about,
    )  # fmt: skip
    lean, large = Tagger(parts), Tagger(to_torch(parts))
    for ours, theirs in zip(lean.scored_spans(SENTENCES), large.scored_spans(SENTENCES), strict=True):
        assert [span for span, _ in ours] == [span for span, _ in theirs]
        assert [score for _, score in ours] == pytest.approx([score for _, score in theirs], abs=1e-2)


def test_a_numpy_tagger_can_be_saved_and_converted(pair: tuple[Tagger, Tagger], tmp_path: Path) -> None:
    full, lean = pair
    lean.save_pretrained(tmp_path / "lean")
    full.save_pretrained(tmp_path / "full")
    for path in (tmp_path / "full").rglob("*"):
        if path.is_file():
            assert (tmp_path / "lean" / path.relative_to(tmp_path / "full")).read_bytes() == path.read_bytes()
    assert isinstance(lean.parts, NumpyTaggerParts)
    converted = Tagger(to_torch(lean.parts))
    assert converted.scored_spans(SENTENCES) == full.scored_spans(SENTENCES)


# --- classifiers


@pytest.fixture(scope="module", params=[(shape, multi) for shape in SHAPES for multi in (False, True)], ids=str)
def classifiers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Classifier, Classifier]:
    """The same classifier in torch and in NumPy."""
    parts, directory = classifier_parts(*request.param), tmp_path_factory.mktemp("model")
    write_model(parts, directory)
    read = read_numpy_model(directory)
    assert isinstance(read, NumpyClassifierParts)
    return Classifier(parts), Classifier(read)


@given(texts=st.lists(st.one_of(st.sampled_from(TEXTS), st.text("ab 手机phone number", max_size=40)), max_size=9))
def test_scores_of_texts(classifiers: tuple[Classifier, Classifier], texts: list[str]) -> None:
    full, lean = classifiers
    expected = predict_scores(full.parts, full.parts.encoder.encode(texts))
    assert predict_scores(lean.parts, lean.parts.encoder.encode(texts)) == pytest.approx(expected, abs=1e-4, rel=1e-5)
    np.testing.assert_allclose(lean.probabilities(texts), full.probabilities(texts), rtol=0, atol=1e-5)
    for text in texts:
        (alone,) = lean.probabilities([text])
        np.testing.assert_allclose(alone, full.probabilities([text])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 8])
def test_long_texts_are_read_in_parts(
    classifiers: tuple[Classifier, Classifier], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, lean = classifiers
    texts = [" ".join(TEXTS) * 5, " ".join(TEXTS[:3]), ""]
    expected = full.probabilities(texts)
    monkeypatch.setattr(convolution, "_PART", size)
    monkeypatch.setattr(runtime_classifier, "_PART", size)
    np.testing.assert_allclose(lean.probabilities(texts), expected, rtol=0, atol=1e-5)


def test_no_texts(classifiers: tuple[Classifier, Classifier]) -> None:
    _, lean = classifiers
    assert lean.classify([]) == []
    assert lean.probabilities([]).shape == (0, len(LABELS))
    encoded = lean.parts.encoder.encode([])
    assert predict_scores(lean.parts, encoded).shape == (0, len(LABELS))
