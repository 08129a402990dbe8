"""Optimizers by name, over named parameter groups.

Dense parameters go to the optimizer that was asked for. Parameters whose gradients are sparse (the `weight`
of a module with `sparse=True`, such as `nn.EmbeddingBag`) go to LazyAdam, which touches only the rows that
a batch used, or, where the module says `plain_sgd=True`, to SGD without momentum: a linear model's rare features then
learn from what they have seen, and no more. Neither knows weight decay. All stand behind one `Optimizers`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nlp_app.core.errors import SettingsError, TrainingError, did_you_mean
from nlp_app.engine.lazy_adam import LazyAdam

# A torch parameter group: params, param_names, lr, weight_decay, and our kind, base_lr and part.
Group = dict[str, Any]

KINDS = ("dense", "sparse", "plain")


@dataclass(frozen=True)
class OptimizerOptions:
    """`rate_factors`: from parameter-name prefixes such as "crf." to factors on the rate; the longest wins.

    `sparse_lr` is the rate of sparse parameters; None means `lr`, which SGD's rates are too high for, so SGD
    needs it; `plain_lr` is that of those which plain SGD trains, None if there are none. `betas` and `eps` belong to
    the Adams, `momentum` to SGD.
    """

    name: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.9
    sparse_lr: float | None = None
    plain_lr: float | None = None
    rate_factors: Mapping[str, float] = field(default_factory=dict)


class Optimizers:
    """Torch optimizers (dense, sparse, plain) that step together; their state goes by parameter name."""

    def __init__(self, parts: list[torch.optim.Optimizer]) -> None:
        self.parts = parts
        self.dense, self.sparse = (
            [
                parameter
                for optimizer in parts
                for group in optimizer.param_groups
                if (group["kind"] == "dense") == is_dense
                for parameter in group["params"]
            ]
            for is_dense in (True, False)
        )

    def groups(self) -> Iterator[Group]:
        """The parameter groups of all parts."""
        for optimizer in self.parts:
            yield from optimizer.param_groups

    def set_lr_multiplier(self, multiplier: float) -> None:
        """Set every group's rate to `multiplier` times the rate that it was made with."""
        for group in self.groups():
            group["lr"] = group["base_lr"] * multiplier

    def learning_rates(self) -> dict[str, float]:
        """The current rate of each part of the model: "all" or a prefix, with " (sparse)" for sparse ones."""
        return {group["part"]: group["lr"] for group in self.groups()}

    def clip(self, max_norm: float | None) -> Tensor:
        """Scale the dense gradients, as one vector, down to `max_norm` (None: don't); their norm before.

        Sparse gradients have no part in either: LazyAdam's step does not grow with their size, and a linear model's
        don't explode. But where one of them isn't finite, the norm is NaN.
        """
        gradients = [parameter.grad for parameter in self.dense if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        # On an accelerator, asking whether there is something to clip would wait for the device.
        if max_norm is not None and gradients and (norm.device.type != "cpu" or norm > max_norm):
            torch.nn.utils.clip_grads_with_norm_(self.dense, max_norm, norm)
        for parameter in self.sparse:
            if parameter.grad is not None and parameter.grad.is_sparse:
                norm = norm + 0 * parameter.grad._values().sum()
        return norm

    def step(self) -> None:
        """One update of all parameters."""
        for optimizer in self.parts:
            optimizer.step()

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for optimizer in self.parts:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Moments and counters by `<parameter name>/<key>`: tensors, plain numbers; no settings."""
        tensors: dict[str, Tensor] = {}
        numbers: dict[str, float] = {}
        for optimizer, name, parameter in self._named_parameters():
            for key, value in optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor):
                    tensors[f"{name}/{key}"] = value
                elif value is not None:
                    numbers[f"{name}/{key}"] = value
        return tensors, numbers

    def load_state_dict(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, float]) -> None:
        """Put back what `state_dict` gave. Raises `TrainingError` if it belongs to other parameters."""
        saved: dict[str, dict[str, Tensor | float]] = {}
        state: dict[str, Tensor | float] = {**tensors, **numbers}
        for path, value in state.items():
            name, _, key = path.rpartition("/")
            saved.setdefault(name, {})[key] = value
        unknown = saved.keys() - {name for _, name, _ in self._named_parameters()}
        if unknown:
            raise TrainingError(
                f"optimizer state: found one for {min(unknown)!r}, no trainable parameter of this model; "
                "expected the settings that the checkpoint was made with"
            )
        for optimizer in self.parts:
            plain = optimizer.state_dict()
            # torch numbers the parameters through all groups, in order.
            names = [name for group in optimizer.param_groups for name in group["param_names"]]
            plain["state"] = {number: saved[name] for number, name in enumerate(names) if name in saved}
            optimizer.load_state_dict(plain)

    def _named_parameters(self) -> Iterator[tuple[torch.optim.Optimizer, str, Tensor]]:
        for optimizer in self.parts:
            for group in optimizer.param_groups:
                for name, parameter in zip(group["param_names"], group["params"], strict=True):
                    yield optimizer, name, parameter


class CombinedOptimizer(torch.optim.Optimizer):
    """`Optimizers` as one torch optimizer, for those who know only one; its groups are those of the parts."""

    def __init__(self, optimizers: Optimizers) -> None:
        self._optimizers = optimizers
        super().__init__(list(optimizers.groups()), {})

    def step(self, closure: Any = None) -> Any:
        """One update of all parameters."""
        loss = None if closure is None else closure()
        self._optimizers.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of the parts, in order."""
        return {"parts": [optimizer.state_dict() for optimizer in self._optimizers.parts]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        for optimizer, state in zip(self._optimizers.parts, state_dict["parts"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = list(self._optimizers.groups())  # torch has made new ones


def make_optimizers(model: nn.Module, options: OptimizerOptions) -> Optimizers:
    """Optimizers for the trainable parameters of `model`, which should already be on its device.

    Biases, norms and all other parameters of at most one dimension have no weight decay, nor have those that
    a module names in an attribute `no_weight_decay` (a collection of its own parameters' names). Raises
    `SettingsError` for an unknown name, a value out of range, a prefix that matches nothing, or a model with
    nothing to train.
    """
    _check(options)
    groups = _parameter_groups(model, options)
    dense, sparse, plain = ([group for group in groups if group["kind"] == kind] for kind in KINDS)
    if not groups:
        raise SettingsError(
            "optimizer: found no trainable parameter, expected one at least; unfreeze a part of the model"
        )
    if sparse and options.name == "sgd" and options.sparse_lr is None:
        raise SettingsError("optimizer.sparse_lr: found none, expected a rate: sparse parameters are trained by Adam")
    if plain and options.plain_lr is None:
        raise SettingsError("optimizer.plain_lr: found none, expected a rate for the parameters that plain SGD trains")
    parts: list[torch.optim.Optimizer] = []
    if dense:
        parts.append(OPTIMIZERS[options.name](dense, options))
    if sparse:
        parts.append(LazyAdam(sparse, betas=options.betas, eps=options.eps))
    if plain:
        parts.append(torch.optim.SGD(plain, lr=plain[0]["lr"], foreach=False))
    return Optimizers(parts)


def sparse_parameter_names(model: nn.Module) -> dict[str, str]:
    """The kind, of KINDS, of the parameters whose gradients are sparse: the `weight` of each module with
    `sparse=True`."""
    return {
        f"{place}.weight" if place else "weight": "plain" if getattr(module, "plain_sgd", False) is True else "sparse"
        for place, module in model.named_modules()
        if getattr(module, "sparse", False) is True
    }


def _adamw(groups: list[Group], options: OptimizerOptions) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, betas=options.betas, eps=options.eps, fused=_can_fuse(groups))


def _adam(groups: list[Group], options: OptimizerOptions) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, betas=options.betas, eps=options.eps, fused=_can_fuse(groups))


def _sgd(groups: list[Group], options: OptimizerOptions) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=options.lr, momentum=options.momentum, fused=_can_fuse(groups))


OPTIMIZERS: dict[str, Callable[[list[Group], OptimizerOptions], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
}


def _can_fuse(groups: list[Group]) -> bool:
    """Whether one kernel can update all: on a CPU Adam is then six times as fast as its foreach form."""
    parameters = [parameter for group in groups for _, parameter in group["params"]]
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def _parameter_groups(model: nn.Module, options: OptimizerOptions) -> list[Group]:
    """A group for each combination of prefix, decay and kind, in the order of parameters."""
    sparse_names, undecayed = sparse_parameter_names(model), _declared_undecayed(model)
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for prefix in options.rate_factors:
        if not any(name.startswith(prefix) for name, _ in trainable):
            roots = sorted({name.split(".")[0] + "." for name, _ in trainable})
            raise SettingsError(
                f"optimizer.rate_factors: prefix {prefix!r} matches no trainable parameter; expected one "
                f"such as {', '.join(roots)}"
            )
    rates = {
        "dense": options.lr,
        "sparse": options.lr if options.sparse_lr is None else options.sparse_lr,
        "plain": options.plain_lr or 0.0,
    }
    groups: dict[tuple[str, str, float], Group] = {}
    for name, parameter in trainable:
        prefix = max((p for p in options.rate_factors if name.startswith(p)), key=len, default="")
        kind = sparse_names.get(name, "dense")
        decays = parameter.ndim > 1 and name not in undecayed and kind == "dense"
        weight_decay = options.weight_decay if decays else 0.0
        rate = rates[kind] * options.rate_factors.get(prefix, 1.0)
        part = (prefix or "all") + ("" if kind == "dense" else f" ({kind})")
        group = {
            "params": [], "kind": kind, "lr": rate, "base_lr": rate, "weight_decay": weight_decay, "part": part
        }  # fmt: skip
        groups.setdefault((prefix, kind, weight_decay), group)["params"].append((name, parameter))
    return list(groups.values())


def _declared_undecayed(model: nn.Module) -> set[str]:
    return {
        f"{place}.{name}" if place else name
        for place, module in model.named_modules()
        for name in getattr(module, "no_weight_decay", ())
    }


def _check(options: OptimizerOptions) -> None:
    if options.name not in OPTIMIZERS:
        hint = did_you_mean(options.name, OPTIMIZERS)
        raise SettingsError(f"optimizer: found {options.name!r}, expected one of {', '.join(OPTIMIZERS)}{hint}")
    for name, fits, expected in (
        ("lr", options.lr > 0, "above 0"),
        ("sparse_lr", options.sparse_lr is None or options.sparse_lr > 0, "above 0"),
        ("plain_lr", options.plain_lr is None or options.plain_lr > 0, "above 0"),
        ("weight_decay", options.weight_decay >= 0, "0 or more"),
        ("momentum", 0 <= options.momentum < 1, "from 0 up to 1"),
        ("betas", all(0 <= beta < 1 for beta in options.betas), "two values from 0 up to 1"),
        ("eps", options.eps > 0, "above 0"),
        ("rate_factors", all(factor > 0 for factor in options.rate_factors.values()), "factors above 0"),
    ):
        if not fits:
            raise SettingsError(f"optimizer.{name}: found {getattr(options, name)}, expected {expected}")
