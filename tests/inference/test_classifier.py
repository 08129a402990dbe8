"""`Classifier`: one text and many, options, probabilities, and messages for wrong calls."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_classifiers import LABELS, SHAPES, TEXTS, classifier_parts

from nlp_app.core.errors import SettingsError
from nlp_app.core.types import Label
from nlp_app.inference import Classifier, class_scores, torch_class_scores

pytestmark = pytest.mark.numeric

ODD = [
    "",
    " ",
    "\n",
    "\x00",
    "\ufeff\u200b",
    "😀👩‍👩‍👧",
    "a \ud83d b \udc00",
    "在北京的Google公司2024年" * 300,
    "x" * 70_000,
]


@pytest.fixture(scope="module", params=SHAPES)
def each(request: pytest.FixtureRequest) -> Classifier:
    """A classifier of each shape, for one label a text."""
    return Classifier(classifier_parts(request.param))


@pytest.fixture(scope="module")
def single() -> Classifier:
    return Classifier(classifier_parts())


@pytest.fixture(scope="module")
def several() -> Classifier:
    """For any number of labels a text, with thresholds of .5, .3, .7 and 0."""
    return Classifier(classifier_parts(multi_label=True))


def test_the_best_class_and_its_probability(each: Classifier) -> None:
    texts = [*TEXTS, *ODD]
    probabilities = each.probabilities(texts)
    assert probabilities.shape == (len(texts), len(LABELS))
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-5)
    for label, row in zip(each.classify(texts), probabilities.tolist(), strict=True):
        assert label == Label(LABELS[row.index(max(row))], max(row))
        assert type(label.score) is float
        assert 0 < label.score <= 1


def test_probabilities_are_a_softmax_at_the_temperature(single: Classifier) -> None:
    parts = single.parts
    scores = torch.from_numpy(class_scores.predict_scores(parts, parts.encoder.encode(TEXTS))).double()
    expected = torch.softmax(scores / parts.decision.temperature, 1)
    np.testing.assert_allclose(single.probabilities(TEXTS), expected, atol=1e-6)


def test_multi_label_probabilities_are_sigmoids(several: Classifier) -> None:
    parts = several.parts
    scores = torch.from_numpy(class_scores.predict_scores(parts, parts.encoder.encode(TEXTS))).double()
    expected = torch.sigmoid(scores / parts.decision.temperature)
    np.testing.assert_allclose(several.probabilities(TEXTS), expected, atol=1e-6)


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_scores_of_any_size(scale: float) -> None:
    for multi_label in (False, True):
        parts = classifier_parts("wide", multi_label)
        with torch.no_grad():
            for parameter in parts.network.parameters():
                parameter.mul_(scale)
        probabilities = Classifier(parts).probabilities(TEXTS)
        assert ((probabilities >= 0) & (probabilities <= 1)).all()


def test_one_text_and_many_texts(each: Classifier) -> None:
    for text in (*TEXTS[:3], *TEXTS[-4:], *ODD):
        alone = each.classify(text)
        assert isinstance(alone, Label)
        assert each.classify([text]) == [alone] == each.classify((text,))
    assert each.classify([]) == each.classify(()) == []
    assert each.probabilities([]).shape == (0, len(LABELS))


@pytest.mark.parametrize("texts_of_a_chunk", [1, 3, 1000])
@pytest.mark.parametrize("size", [5, 1 << 18])
def test_results_do_not_depend_on_batching(
    monkeypatch: pytest.MonkeyPatch, each: Classifier, texts_of_a_chunk: int, size: int
) -> None:
    texts = [*TEXTS, *ODD] * 2
    alone = np.concatenate([each.probabilities([text]) for text in texts])
    monkeypatch.setattr(class_scores, "_CHUNK_TEXTS", texts_of_a_chunk)
    monkeypatch.setattr(class_scores, "_CHUNK_CHARACTERS", size)
    monkeypatch.setattr(torch_class_scores, "_BATCH_NGRAMS", 10 * size)
    monkeypatch.setattr(torch_class_scores, "_BATCH_WORDS", size)
    np.testing.assert_allclose(each.probabilities(texts), alone, atol=1e-5)


@given(st.lists(st.integers(0, 400_000), max_size=30), st.integers(0, 2500))
def test_chunks_keep_order_and_limits(long: list[int], short: int) -> None:
    texts = ["x" * size for size in long] + ["y"] * short
    chunks = list(class_scores.text_chunks(texts))
    assert [text for chunk in chunks for text in chunk] == texts
    assert all(chunks)
    assert all(len(chunk) <= 1000 for chunk in chunks)
    assert all(len(chunk) == 1 or sum(map(len, chunk)) <= 1 << 18 for chunk in chunks)


@given(st.lists(st.text(st.one_of(st.characters(), st.sampled_from("good 手机😀\u200b")), max_size=40), max_size=5))
def test_any_text_can_be_classified(single: Classifier, texts: list[str]) -> None:
    assert [type(label) for label in single.classify(texts)] == [Label] * len(texts)


def ranked(row: list[float]) -> list[Label]:
    return [Label(label, score) for score, label in sorted(zip(row, LABELS, strict=True), key=lambda pair: -pair[0])]


def assert_near(found: Label | list[Label], expected: Label | list[Label]) -> None:
    """The same labels in the same order, and scores that differ in their last digits at most."""
    assert isinstance(found, Label) == isinstance(expected, Label)
    one, other = ([each] if isinstance(each, Label) else each for each in (found, expected))
    assert [label.label for label in one] == [label.label for label in other]
    assert [label.score for label in one] == pytest.approx([label.score for label in other], abs=1e-5)


@pytest.mark.parametrize("top_k", [None, 1, 2, 4, 5, 10**9])
@pytest.mark.parametrize("threshold", [None, 0, 0.0, 0.3, 0.999, 1.0, 1])
@pytest.mark.parametrize("multi_label", [False, True])
def test_top_k_and_threshold(
    single: Classifier, several: Classifier, multi_label: bool, top_k: int | None, threshold: float | None
) -> None:
    asked = several if multi_label else single
    found = asked.classify(TEXTS, top_k=top_k, threshold=threshold)
    # Alone a text is summed in another order than among others: no score here is that near to a limit, or to another.
    assert_near(asked.classify(TEXTS[0], top_k=top_k, threshold=threshold), found[0])
    if top_k is None and threshold is None and not multi_label:
        assert all(isinstance(label, Label) for label in found)
        return
    thresholds = dict(zip(LABELS, (0.5, 0.3, 0.7, 0.0), strict=True))
    for labels, row in zip(found, asked.probabilities(TEXTS).tolist(), strict=True):
        expected = ranked(row)[:top_k]
        if threshold is not None:
            expected = [label for label in expected if label.score >= threshold]
        elif multi_label and top_k is None:
            expected = [label for label in expected if label.score >= thresholds[label.label]]
        assert labels == expected


def test_equal_scores_keep_the_order_of_classes() -> None:
    parts = classifier_parts("wide")
    with torch.no_grad():
        for parameter in parts.network.parameters():
            parameter.zero_()
    even = Classifier(parts)
    assert even.classify("good") == Label("bad", 0.25)
    assert [label.label for label in even.classify("good", top_k=3)] == list(LABELS[:3])
    assert len(even.classify("good", threshold=0.25)) == 4


@pytest.mark.parametrize("choice", [{"top_k": 0}, {"top_k": -1}, {"threshold": -0.1}, {"threshold": 1.1}])
@pytest.mark.parametrize("texts", ["good", ["good"], []])
def test_options_out_of_range(single: Classifier, several: Classifier, choice: dict[str, Any], texts: Any) -> None:
    for asked in (single, several):
        with pytest.raises(SettingsError, match=f"{next(iter(choice))}: found .*, expected") as caught:
            asked.classify(texts, **choice)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match="threshold: found nan"):
        single.classify("good", threshold=float("nan"))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (b"good", "found bytes"),
        (None, "found NoneType"),
        (3, "found int"),
        (("a" for _ in "ab"), "found generator"),
        ({"a": 1}, "found dict"),
        (np.array(["good"]), "found ndarray"),
        ([b"good"], "found bytes in the list"),
        (["good", None], "found NoneType in the list"),
        ([["good"]], "found list in the list"),
    ],
)
def test_wrong_texts(single: Classifier, wrong: Any, said: str) -> None:
    for call in (single.classify, single.probabilities):
        with pytest.raises(TypeError, match="classify takes a str or a list of str") as caught:
            call(wrong)
        assert said in str(caught.value)


def test_probabilities_need_a_list(single: Classifier) -> None:
    with pytest.raises(TypeError, match=r"found str.*write classify\(\[\.\.\.\]\)"):
        single.probabilities("good")  # type: ignore[arg-type]


def test_calls_change_nothing(each: Classifier) -> None:
    texts = [*TEXTS, *ODD]
    before = copy.deepcopy(texts)
    weights = [weight.clone() for weight in each.parts.network.state_dict().values()]
    first = each.classify(texts), each.probabilities(texts).tolist()
    each.classify(["other text 在北京"] * 5, top_k=2)
    assert texts == before
    assert (each.classify(texts), each.probabilities(texts).tolist()) == first
    assert all(map(torch.equal, weights, each.parts.network.state_dict().values()))
    assert not each.parts.network.training


def test_network_is_put_in_evaluation_mode() -> None:
    parts = classifier_parts()
    parts.network.train()
    asked = Classifier(parts)
    assert asked.probabilities(TEXTS).tolist() == asked.probabilities(TEXTS).tolist()


def test_labels(single: Classifier, several: Classifier) -> None:
    assert single.labels == several.labels == LABELS
    assert (single.multi_label, several.multi_label) == (False, True)
