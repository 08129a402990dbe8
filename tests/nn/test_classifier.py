"""The classifier's network: sums by hand, parts on and off, texts alone and in batches, vectors frozen and trained."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from nlp_app.nn import classifier
from nlp_app.nn.classifier import TextClassifierNetwork
from nlp_app.numerics.dimensions import ClassifierDimensions, ClassifierSizes, kernel_sizes

pytestmark = pytest.mark.numeric

CLASSES = 3
SIZES = ClassifierSizes(ngrams=20, words=12, vectors=8)
STILL = ClassifierDimensions(  # without dropout
    wide=0,
    hidden=0,
    ngram_dropout=0.0,
    hidden_dropout=0.0,
    word_dropout=0.0,
    filter_dropout=0.0,
    kernels="1,2,3",
)
WIDE, DEEP = {"wide": 1}, {"hidden": 5}
WORDS, VECTORS = {"filters": 4, "word": 6}, {"filters": 4, "vector": 7}
BOTH, STACKED = WORDS | VECTORS, WORDS | VECTORS | {"stacked": 2}
PARTS: dict[str, dict[str, Any]] = {
    "wide": WIDE,
    "deep": DEEP,
    "words": WORDS,
    "vectors": VECTORS,
    "both": BOTH,
    "stacked": STACKED,
    "all": WIDE | DEEP | BOTH,
}
Texts = list[tuple[list[int], list[float], list[int]]]  # rows and weights of n-grams, rows of words


def network(dimensions: ClassifierDimensions, seed: int = 0) -> TextClassifierNetwork:
    """With weights that are nowhere zero."""
    torch.manual_seed(seed)
    found = TextClassifierNetwork(CLASSES, SIZES, dimensions).eval()
    for parameter in found.parameters():
        nn.init.normal_(parameter)
    return found


def inputs(texts: Texts, padding: int = 0) -> dict[str, Tensor]:
    longest = max((len(words) for *_, words in texts), default=0) + padding
    padded = [words + [0] * (longest - len(words)) for *_, words in texts]
    words = torch.tensor(padded, dtype=torch.int32).view(len(texts), longest)
    return {
        "ngrams": torch.tensor([row for rows, _, _ in texts for row in rows], dtype=torch.int32),
        "weights": torch.tensor([weight for _, weights, _ in texts for weight in weights]),
        "offsets": torch.tensor([0, *(len(rows) for rows, _, _ in texts)]).cumsum(0).int(),
        "words": words,
        "vectors": words % SIZES.vectors,  # a word always has the same
        "mask": torch.arange(longest) < torch.tensor([len(words) for *_, words in texts]).view(-1, 1),
    }


def some_texts(seed: int, lengths: list[tuple[int, int]]) -> Texts:
    random = torch.Generator().manual_seed(seed)

    def rows(count: int, size: int) -> list[int]:
        found: list[int] = torch.randint(1, size, (count,), generator=random).tolist()
        return found

    return [
        (rows(n, SIZES.ngrams), torch.rand(n, generator=random).tolist(), rows(length, SIZES.words))
        for n, length in lengths
    ]


TEXTS = some_texts(0, [(3, 4), (0, 0), (7, 1), (1, 9), (5, 2)])
lengths_of_texts = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7)), min_size=1, max_size=5)


def by_hand(net: TextClassifierNetwork, texts: Texts) -> Tensor:
    """The scores of each text, the mean of its heads', with nothing but the layers' weights."""
    found = []
    for rows, weights, words in texts:
        heads = []
        scale = torch.tensor(weights).view(-1, 1)
        if net.wide is not None:
            heads.append((net.wide.bag.weight[rows] * scale).sum(0) + net.wide.bias)
        if net.deep is not None:
            hidden = ((net.deep.bag.weight[rows] * scale).sum(0) + net.deep.bias).relu()
            heads.append(net.deep.output.weight @ hidden + net.deep.output.bias)
        part = net.convolution
        if part is not None and not words:
            heads.append(part.output.bias)
        elif part is not None:
            chosen = torch.tensor(words)
            embedded = []
            if part.vectors is not None:
                embedded.append(part.vectors.weight[chosen % SIZES.vectors])
            if part.words is not None:
                embedded.append(part.words.weight[chosen])
            pooled = []
            for convolution in part.encoder.convolutions:
                size = convolution.kernel_size[0]
                left = (size - 1) // 2
                x = functional.pad(torch.cat(embedded, 1).T, (left, size - 1 - left))
                pooled.append(functional.conv1d(x, convolution.weight, convolution.bias).relu().amax(1))
            heads.append(part.output.weight @ torch.cat(pooled) + part.output.bias)
        found.append(sum(heads) / len(heads))
    return torch.stack(found)


def test_wide_alone_is_a_linear_model() -> None:
    net = network(replace(STILL, wide=1))
    dense = torch.zeros(len(TEXTS), SIZES.ngrams)
    for place, (rows, weights, _) in enumerate(TEXTS):
        for row, weight in zip(rows, weights, strict=True):
            dense[place, row] += weight
    assert net.wide is not None
    torch.testing.assert_close(net(**inputs(TEXTS)), dense @ net.wide.bag.weight + net.wide.bias)


def test_its_gradient_is_that_of_a_logistic_regression() -> None:
    """X^T (softmax - one-hot), of McCullagh & Nelder 1989, and the sum of it for the bias."""
    net = network(replace(STILL, wide=1))
    targets = torch.tensor([0, 2, 1, 1, 0])
    net.loss = nn.CrossEntropyLoss(reduction="sum")
    net(targets=targets, **inputs(TEXTS)).backward()
    dense = torch.zeros(len(TEXTS), SIZES.ngrams)
    for place, (rows, weights, _) in enumerate(TEXTS):
        for row, weight in zip(rows, weights, strict=True):
            dense[place, row] += weight
    assert net.wide is not None
    residual = torch.softmax(dense @ net.wide.bag.weight + net.wide.bias, 1) - functional.one_hot(targets, CLASSES)
    torch.testing.assert_close(net.wide.bag.weight.grad.to_dense(), dense.T @ residual.detach())
    torch.testing.assert_close(net.wide.bias.grad, residual.sum(0).detach())


@pytest.mark.parametrize("name", [name for name in PARTS if name != "stacked"])
def test_scores_by_hand(name: str) -> None:
    net = network(replace(STILL, **PARTS[name]))
    torch.testing.assert_close(net(**inputs(TEXTS)), by_hand(net, TEXTS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", PARTS)
@given(lengths_of_texts, st.integers(0, 10**6), st.integers(0, 5))
@settings(max_examples=20)
def test_company_and_padding_have_no_influence(name: str, lengths: list[tuple[int, int]], seed: int, more: int) -> None:
    net = network(replace(STILL, **PARTS[name]))
    texts = some_texts(seed, lengths)
    with torch.inference_mode():
        together = net(**inputs(texts))
        alone = torch.cat([net(**inputs([text])) for text in texts])
        padded = inputs(texts, more)
        for column in ("words", "vectors"):
            padded[column] = torch.where(padded["mask"], padded[column], 3)  # whatever stands there
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(net(**padded), together, rtol=1e-4, atol=1e-4)
        order = list(range(len(texts)))[::-1]
        shuffled = net(**inputs([texts[place] for place in order]))
        torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("wide", "hidden", "filters"), [each for each in product((0, 1), (0, 5), (0, 4)) if any(each)])
def test_each_part_on_and_off(wide: int, hidden: int, filters: int) -> None:
    net = network(replace(STILL, wide=wide, hidden=hidden, filters=filters, word=6))
    assert (net.wide is not None, net.deep is not None, net.convolution is not None) == (
        wide > 0, hidden > 0, filters > 0
    )  # fmt: skip
    torch.testing.assert_close(net(**inputs(TEXTS)), by_hand(net, TEXTS), rtol=1e-4, atol=1e-4)
    net.train()
    net.loss = nn.CrossEntropyLoss(reduction="sum")
    net(targets=torch.tensor([0, 2, 1, 1, 0]), **inputs(TEXTS)).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


@pytest.mark.parametrize("mode", ["mean", "max"])
def test_modes_of_bags(mode: str) -> None:
    net = network(replace(STILL, wide=1, mode=mode))
    assert net.wide is not None
    for (rows, weights, _), score in zip(TEXTS, net(**inputs(TEXTS)), strict=True):
        vectors = net.wide.bag.weight[rows]
        mean = (vectors * torch.tensor(weights).view(-1, 1)).sum(0) / max(len(rows), 1)
        expected = mean if mode == "mean" else vectors.amax(0) if rows else torch.zeros(CLASSES)
        torch.testing.assert_close(score, expected + net.wide.bias)


@pytest.mark.parametrize("name", PARTS)
def test_with_targets_it_is_the_sum_of_the_heads_losses(name: str) -> None:
    net = network(replace(STILL, **PARTS[name]))
    batch, targets = inputs(TEXTS), torch.tensor([0, 2, 1, 1, 0])
    net.loss = nn.CrossEntropyLoss(reduction="sum")
    heads = net.heads(**batch)
    assert len(heads) == {"all": 3}.get(name, 1)
    expected = sum(functional.cross_entropy(head, targets) * 5 for head in heads)
    torch.testing.assert_close(net(targets=targets, **batch), expected)
    torch.testing.assert_close(net(**batch), sum(heads) / len(heads))
    torch.testing.assert_close(net(**batch), net.scores(**batch))
    assert not any("loss" in key for key in net.state_dict())


def test_dropout_is_of_training_alone() -> None:
    dropping = replace(STILL, **PARTS["all"], ngram_dropout=0.5)
    for name in ("ngram_dropout", "hidden_dropout", "word_dropout", "filter_dropout"):
        net = network(replace(STILL, **PARTS["all"], **{name: 0.5}))
        still = network(replace(STILL, **PARTS["all"]))
        batch = inputs(TEXTS)
        torch.testing.assert_close(net(**batch), still(**batch))
        found = [net.train()(**batch) for _ in range(5)]
        assert any(not torch.equal(found[0], other) for other in found[1:]), name
    net = network(replace(dropping, filters=0, hidden=0)).train()
    batch = inputs(TEXTS)
    mean = torch.stack([net(**batch) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(mean, net.eval()(**batch), rtol=0, atol=0.2)


@pytest.mark.parametrize("trained", [True, False])
@pytest.mark.parametrize("name", ["vectors", "both", "stacked"])
def test_vectors_are_put_in_place_and_frozen_or_trained(name: str, trained: bool) -> None:
    net = network(replace(STILL, **PARTS[name]))
    matrix = torch.randn(SIZES.vectors, 7)
    net.set_vectors(matrix, trained)
    part = net.convolution
    assert part is not None
    assert part.vectors is not None
    assert torch.equal(part.vectors.weight, matrix)
    net.loss = nn.CrossEntropyLoss(reduction="sum")
    optimizer = torch.optim.SGD([each for each in net.parameters() if each.requires_grad], lr=0.1)
    net(targets=torch.tensor([0, 2, 1, 1, 0]), **inputs(TEXTS)).backward()
    optimizer.step()
    assert torch.equal(part.vectors.weight, matrix) == (not trained)
    assert (part.vectors.weight.grad is not None) == trained
    assert "convolution.vectors.weight" in net.state_dict()  # kept with the model either way


def test_vectors_without_a_place_or_of_another_shape() -> None:
    with pytest.raises(ValueError, match="without pretrained vectors"):
        network(replace(STILL, **WORDS)).set_vectors(torch.zeros(8, 7), True)
    with pytest.raises(RuntimeError):
        network(replace(STILL, **VECTORS)).set_vectors(torch.zeros(8, 6), True)


def test_tables_of_ngrams_are_for_plain_sgd() -> None:
    net = network(replace(STILL, **PARTS["all"]))
    plain = {place for place, module in net.named_modules() if getattr(module, "plain_sgd", False)}
    sparse = {place for place, module in net.named_modules() if getattr(module, "sparse", False)}
    assert plain == sparse == {"wide.bag", "deep.bag"}


def test_no_texts() -> None:
    for dimensions in (WIDE | DEEP, BOTH):
        assert network(replace(STILL, **dimensions))(**inputs([])).shape == (0, CLASSES)


@pytest.mark.parametrize(("text", "sizes"), [("3", [3]), ("2,3,4", [2, 3, 4]), ("1, 99", [1, 99])])
def test_kernel_sizes(text: str, sizes: list[int]) -> None:
    assert kernel_sizes(text) == sizes


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "100", "1,,2", "1.5", "9" * 5000])
def test_kernel_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"kernels|invalid literal|integer"):
        kernel_sizes(text)


@pytest.mark.parametrize("parts", ["words", "vectors", "both", "stacked"])
def test_a_long_text_is_read_in_parts_with_the_same_scores(parts: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    found = network(replace(STILL, **PARTS[parts]))
    words, mask = torch.randint(1, SIZES.words, (2, 150)), torch.arange(150) < torch.tensor([[150], [31]])
    vectors = words % SIZES.vectors if parts != "words" else None
    with torch.inference_mode():
        whole = found.scores(words=words, vectors=vectors, mask=mask)
        monkeypatch.setattr(classifier, "_LONGEST_TEXT", 20)
        divided = found.scores(words=words, vectors=vectors, mask=mask)
    torch.testing.assert_close(divided, whole, atol=1e-5, rtol=1e-5)
