from __future__ import annotations

import pytest
import torch
from torch import nn
from toys import Dense, Wide, assert_same, toy_batches

from nlp_app.core.errors import SettingsError, TrainingError
from nlp_app.engine import OptimizerOptions, make_optimizers

pytestmark = pytest.mark.numeric


def gradients(model, batch):
    model.zero_grad()
    model(**batch.inputs).backward()


def twins(make_model):
    torch.manual_seed(5)
    first = make_model()
    second = make_model()
    second.load_state_dict(first.state_dict())
    return first, second


def run(model, optimizers, batches):
    for batch in batches:
        gradients(model, batch)
        optimizers.step()


def test_groups():
    model = Wide()
    options = OptimizerOptions(lr=0.1, weight_decay=0.5, sparse_lr=0.2, rate_factors={"head.": 10.0, "head.bias": 2.0})
    optimizers = make_optimizers(model, options)
    found = {
        name: (type(optimizer).__name__, group["lr"], group.get("weight_decay"))
        for optimizer in optimizers.optimizers
        for group in optimizer.param_groups
        for name in group["param_names"]
    }
    sparse = found.pop("wide.weight")
    assert found == {
        "body.weight": ("AdamW", 0.1, 0.5),
        "body.bias": ("AdamW", 0.1, 0.0),
        "norm.weight": ("AdamW", 0.1, 0.0),
        "norm.bias": ("AdamW", 0.1, 0.0),
        "head.weight": ("AdamW", 1.0, 0.5),
        "head.bias": ("AdamW", 0.2, 0.0),
    }
    assert sparse[:2] == ("LazyAdam", 0.2)
    assert optimizers.learning_rates() == {"all": 0.1, "head.": 1.0, "head.bias": 0.2, "all (sparse)": 0.2}
    optimizers.set_lr_multiplier(0.5)
    optimizers.set_lr_multiplier(0.5)
    assert optimizers.learning_rates() == {"all": 0.05, "head.": 0.5, "head.bias": 0.1, "all (sparse)": 0.1}


def test_a_module_declares_parameters_without_decay():
    class Declares(Dense):
        no_weight_decay = ("head.weight",)

    model = nn.Sequential(Declares())
    groups = make_optimizers(model, OptimizerOptions(weight_decay=0.5)).groups()
    decayed = {name for group in groups if group["weight_decay"] for name in group["param_names"]}
    assert decayed == {"0.body.weight"}


def test_frozen_parameters_are_left_out():
    model = Dense()
    model.body.requires_grad_(False)
    names = {name for group in make_optimizers(model, OptimizerOptions()).groups() for name in group["param_names"]}
    assert names == {"norm.weight", "norm.bias", "head.weight", "head.bias"}
    model.requires_grad_(False)
    with pytest.raises(SettingsError, match="no trainable parameter"):
        make_optimizers(model, OptimizerOptions())


def reference(name, model):
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    if name == "sgd":
        return torch.optim.SGD(groups, lr=0.01, momentum=0.8)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[name]
    return kind(groups, lr=0.01, betas=(0.8, 0.9), eps=1e-6)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_updates_equal_torch(name):
    ours, theirs = twins(Dense)
    batches = toy_batches([5] * 6)
    options = OptimizerOptions(name, 0.01, 0.1, betas=(0.8, 0.9), eps=1e-6, momentum=0.8)
    run(ours, make_optimizers(ours, options), batches)
    run(theirs, reference(name, theirs), batches)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_sparse_rows_follow_sparse_adam_and_others_stay():
    ours, theirs = twins(Wide)
    before = ours.wide.weight.detach().clone()
    batches = toy_batches([4] * 3, ids=True)
    dense = [p for name, p in theirs.named_parameters() if name != "wide.weight"]
    pair = [
        torch.optim.Adam(dense, lr=0.01),
        torch.optim.SparseAdam([theirs.wide.weight], lr=0.03),
    ]
    run(ours, make_optimizers(ours, OptimizerOptions("adam", 0.01, 0.0, sparse_lr=0.03)), batches)
    for batch in batches:
        gradients(theirs, batch)
        for optimizer in pair:
            optimizer.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)
    used = torch.zeros(50, dtype=torch.bool)
    used[torch.cat([batch.inputs["ids"].flatten() for batch in batches])] = True
    assert torch.equal(ours.wide.weight[~used], before[~used])
    assert (ours.wide.weight[used] != before[used]).all()


def test_clip_takes_dense_gradients_only():
    ours, theirs = twins(Wide)
    batch = toy_batches([6], ids=True)[0]
    gradients(ours, batch)
    gradients(theirs, batch)
    sparse_before = ours.wide.weight.grad.to_dense()
    dense = [p for name, p in theirs.named_parameters() if name != "wide.weight"]
    expected = torch.nn.utils.clip_grad_norm_(dense, 0.1)
    optimizers = make_optimizers(ours, OptimizerOptions())
    torch.testing.assert_close(optimizers.clip(0.1), expected)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if name != "wide.weight":
            torch.testing.assert_close(mine.grad, other.grad)
    assert torch.equal(ours.wide.weight.grad.to_dense(), sparse_before)
    torch.testing.assert_close(optimizers.clip(None), torch.tensor(0.1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_state_goes_on_exactly(name):
    first, second = twins(Wide)
    batches = toy_batches([5] * 8, ids=True)
    options = OptimizerOptions(name, 0.01, sparse_lr=0.02)
    optimizers = make_optimizers(first, options)
    run(first, optimizers, batches[:4])
    second.load_state_dict(first.state_dict())
    resumed = make_optimizers(second, options)
    tensors, numbers = optimizers.state_dict()
    resumed.load_state_dict({key: value.clone() for key, value in tensors.items()}, numbers)
    run(first, optimizers, batches[4:])
    run(second, resumed, batches[4:])
    assert_same(second.state_dict(), first.state_dict())


def test_state_of_other_parameters_is_refused():
    optimizers = make_optimizers(Dense(), OptimizerOptions())
    with pytest.raises(TrainingError, match=r"'elsewhere\.weight'"):
        optimizers.load_state_dict({"elsewhere.weight/exp_avg": torch.zeros(2)}, {})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (OptimizerOptions("adamm"), "did you mean 'adam"),
        (
            OptimizerOptions(rate_factors={"crf.": 2.0}),
            r"prefix 'crf\.' matches no trainable parameter.*body\.",
        ),
        (OptimizerOptions(lr=0), "optimizer.lr: found 0, expected above 0"),
        (OptimizerOptions(weight_decay=-1), "optimizer.weight_decay"),
        (OptimizerOptions("sgd"), "optimizer.sparse_lr: found none"),
    ],
)
def test_bad_settings(options, words):
    with pytest.raises(SettingsError, match=words):
        make_optimizers(Wide(), options)


class Plain(nn.EmbeddingBag):
    """A table that says how it wants to be trained."""

    plain_sgd = True


class Linear(Wide):
    """A sparse table for LazyAdam and one for plain SGD."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = Plain(50, 1, mode="sum", sparse=True)

    def forward(self, x, y, ids):
        return super().forward(x, y - self.linear(ids).squeeze(-1), ids)


def test_plain_parameters_follow_sgd_by_hand():
    ours, theirs = twins(Linear)
    batches = toy_batches([4] * 5, ids=True)
    options = OptimizerOptions(
        "adam", 0.01, weight_decay=0.5, sparse_lr=0.03, plain_lr=0.2, rate_factors={"linear.": 0.5}
    )
    optimizers = make_optimizers(ours, options)
    assert [type(part).__name__ for part in optimizers.optimizers] == ["Adam", "LazyAdam", "SGD"]
    assert optimizers.learning_rates() == {"all": 0.01, "all (sparse)": 0.03, "linear. (plain)": 0.1}
    others = [p for name, p in theirs.named_parameters() if "." in name and not name.startswith(("wide", "linear"))]
    pair = [
        torch.optim.Adam([
            {"params": [p for p in others if p.ndim > 1], "weight_decay": 0.5},
            {"params": [p for p in others if p.ndim < 2]},
        ], lr=0.01),
        torch.optim.SparseAdam([theirs.wide.weight], lr=0.03),
    ]  # fmt: skip
    for number, batch in enumerate(batches):
        multiplier = 1 / (1 + number)
        optimizers.set_lr_multiplier(multiplier)
        for optimizer in pair:
            for group in optimizer.param_groups:
                group["lr"] = (0.03 if optimizer is pair[1] else 0.01) * multiplier
        gradients(ours, batch)
        optimizers.clip(0.0001)
        gradients(ours, batch)  # anew: clipping is another test
        optimizers.step()
        gradients(theirs, batch)
        with torch.no_grad():
            theirs.linear.weight -= 0.1 * multiplier * theirs.linear.weight.grad.to_dense()
        for optimizer in pair:
            optimizer.step()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_plain_rows_that_a_batch_has_not_stay():
    model, _ = twins(Linear)
    before = model.linear.weight.detach().clone()
    batch = toy_batches([3], ids=True)[0]
    run(model, make_optimizers(model, OptimizerOptions(weight_decay=0.5, plain_lr=0.1)), [batch])
    used = torch.zeros(50, dtype=torch.bool)
    used[batch.inputs["ids"].flatten()] = True
    assert torch.equal(model.linear.weight[~used], before[~used])
    assert (model.linear.weight[used] != before[used]).all()


def test_clip_leaves_plain_gradients():
    model, _ = twins(Linear)
    gradients(model, toy_batches([6], ids=True)[0])
    before = model.linear.weight.grad.to_dense()
    make_optimizers(model, OptimizerOptions(plain_lr=0.1)).clip(1e-6)
    assert torch.equal(model.linear.weight.grad.to_dense(), before)


def test_plain_state_goes_on_exactly():
    first, second = twins(Linear)
    batches = toy_batches([5] * 6, ids=True)
    options = OptimizerOptions("adamw", 0.01, sparse_lr=0.02, plain_lr=0.3)
    optimizers = make_optimizers(first, options)
    run(first, optimizers, batches[:3])
    tensors, numbers = optimizers.state_dict()
    assert not any(key.startswith("linear.") for key in {**tensors, **numbers})  # there is nothing to keep
    second.load_state_dict(first.state_dict())
    resumed = make_optimizers(second, options)
    resumed.load_state_dict({key: value.clone() for key, value in tensors.items()}, numbers)
    run(first, optimizers, batches[3:])
    run(second, resumed, batches[3:])
    assert_same(second.state_dict(), first.state_dict())


def test_plain_parameters_alone_or_frozen():
    alone = Plain(9, 2, mode="sum", sparse=True)
    optimizers = make_optimizers(alone, OptimizerOptions("sgd", plain_lr=1.0))
    assert [type(part).__name__ for part in optimizers.optimizers] == ["SGD"]
    assert optimizers.learning_rates() == {"all (plain)": 1.0}
    assert float(optimizers.clip(1.0)) == 0.0
    model = Linear()
    model.linear.requires_grad_(False)
    make_optimizers(model, OptimizerOptions())  # needs no rate then


def test_a_dense_table_is_not_for_plain_sgd():
    model = nn.Sequential(Plain(9, 2, mode="max"))
    (group,) = make_optimizers(model, OptimizerOptions()).groups()
    assert group["kind"] == "dense"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (OptimizerOptions(), "optimizer.plain_lr: found none, expected a rate"),
        (OptimizerOptions(plain_lr=0.0), "optimizer.plain_lr: found 0.0, expected above 0"),
        (OptimizerOptions(plain_lr=-1.0), "optimizer.plain_lr: found -1.0, expected above 0"),
        (OptimizerOptions(plain_lr=float("nan")), "optimizer.plain_lr: found nan, expected above 0"),
    ],
)
def test_bad_plain_rates(options, words):
    with pytest.raises(SettingsError, match=words):
        make_optimizers(Linear(), options)
