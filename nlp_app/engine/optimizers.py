"""Optimizers by name, with parameter groups by parameter name.

Dense parameters are trained by the selected optimizer. Parameters with sparse gradients (the `weight` of a module with
`sparse=True`, such as `nn.EmbeddingBag`) are trained by LazyAdam, which updates only the rows used in a batch. If the
module has `plain_sgd=True`, they are trained by SGD without momentum instead, so that a rare feature of a linear model
changes only with examples that have it. Neither has weight decay. `Optimizers` combines all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nlp_app.core.errors import SettingsError, TrainingError, did_you_mean
from nlp_app.engine.lazy_adam import LazyAdam

# A torch parameter group: params, param_names, lr, weight_decay; in addition kind, base_lr and part.
Group = dict[str, Any]

KINDS = ("dense", "sparse", "plain")


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of the optimizers.

    Attributes:
        name: Optimizer of dense parameters, one of `OPTIMIZERS`.
        lr: Learning rate of dense parameters.
        weight_decay: Weight decay of dense parameters.
        betas: Decay rates of the moments of Adam, AdamW and LazyAdam.
        eps: Term added to the denominator of Adam, AdamW and LazyAdam.
        momentum: Momentum of SGD.
        sparse_lr: Learning rate of sparse parameters; None for `lr`. Required with SGD, whose rates are too high for
            LazyAdam.
        plain_lr: Learning rate of parameters trained by plain SGD; None if there are none.
        rate_factors: Factors on the learning rate by prefix of the parameter name, such as "crf."; the longest
            matching prefix counts.
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
    """Torch optimizers (dense, sparse, plain) that step together; their state is stored by parameter name.

    Args:
        optimizers: The optimizers.
    """

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        self.optimizers = optimizers
        self.dense, self.sparse = (
            [
                parameter
                for optimizer in optimizers
                for group in optimizer.param_groups
                if (group["kind"] == "dense") == is_dense
                for parameter in group["params"]
            ]
            for is_dense in (True, False)
        )

    def groups(self) -> Iterator[Group]:
        """Iterate over the parameter groups of all optimizers.

        Yields:
            Parameter groups.
        """
        for optimizer in self.optimizers:
            yield from optimizer.param_groups

    def set_lr_multiplier(self, multiplier: float) -> None:
        """Set each group's learning rate to a multiple of its initial rate.

        Args:
            multiplier: The factor on the initial rates.
        """
        for group in self.groups():
            group["lr"] = group["base_lr"] * multiplier

    def learning_rates(self) -> dict[str, float]:
        """Return the current learning rate of each part of the model.

        Returns:
            Learning rates by part: "all" or a prefix, followed by " (sparse)" or " (plain)" for sparse parameters.
        """
        return {group["part"]: group["lr"] for group in self.groups()}

    def clip(self, max_norm: float | None) -> Tensor:
        """Clip the norm of all dense gradients together.

        Sparse gradients are not clipped and do not count in the norm: LazyAdam's step does not grow with their size,
        and those of a linear model do not explode. If one of them is not finite, the norm is NaN.

        Args:
            max_norm: Limit on the norm; None for no clipping.

        Returns:
            The norm before clipping, a scalar.
        """
        gradients = [parameter.grad for parameter in self.dense if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        # On an accelerator, comparing the norm with the limit would wait for the device, so always clip there.
        if max_norm is not None and gradients and (norm.device.type != "cpu" or norm > max_norm):
            torch.nn.utils.clip_grads_with_norm_(self.dense, max_norm, norm)
        for parameter in self.sparse:
            if parameter.grad is not None and parameter.grad.is_sparse:
                norm = norm + 0 * parameter.grad._values().sum()
        return norm

    def step(self) -> None:
        """Make one step of all optimizers."""
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        """Discard all gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Return moments and counters, without settings.

        Returns:
            Tensors and numbers, each by `<parameter name>/<key>`.
        """
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
        """Restore a state.

        Args:
            tensors: Tensors by `<parameter name>/<key>`.
            numbers: Numbers by `<parameter name>/<key>`.

        Raises:
            TrainingError: The state belongs to other parameters.
        """
        saved: dict[str, dict[str, Tensor | float]] = {}
        state: dict[str, Tensor | float] = {**tensors, **numbers}
        for path, value in state.items():
            name, _, key = path.rpartition("/")
            saved.setdefault(name, {})[key] = value
        unknown = saved.keys() - {name for _, name, _ in self._named_parameters()}
        if unknown:
            raise TrainingError(
                f"optimizer state: found one for {min(unknown)!r}, no trainable parameter of this model; "
                "resume with the settings of the checkpoint"
            )
        for optimizer in self.optimizers:
            state_dict = optimizer.state_dict()
            # torch numbers the parameters of all groups in order.
            names = [name for group in optimizer.param_groups for name in group["param_names"]]
            state_dict["state"] = {number: saved[name] for number, name in enumerate(names) if name in saved}
            optimizer.load_state_dict(state_dict)

    def _named_parameters(self) -> Iterator[tuple[torch.optim.Optimizer, str, Tensor]]:
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                for name, parameter in zip(group["param_names"], group["params"], strict=True):
                    yield optimizer, name, parameter


class CombinedOptimizer(torch.optim.Optimizer):
    """Adapter of `Optimizers` to code that expects one torch optimizer; it has the groups of all optimizers.

    Args:
        optimizers: The optimizers.
    """

    def __init__(self, optimizers: Optimizers) -> None:
        self._optimizers = optimizers
        super().__init__(list(optimizers.groups()), {})

    def step(self, closure: Any = None) -> Any:
        """Make one step of all optimizers.

        Args:
            closure: Function that computes the loss again.

        Returns:
            The loss of the closure; None without a closure.
        """
        loss = None if closure is None else closure()
        self._optimizers.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all optimizers.

        Returns:
            A dict with the states in order, under "parts".
        """
        return {"parts": [optimizer.state_dict() for optimizer in self._optimizers.optimizers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore a state.

        Args:
            state_dict: The result of `state_dict`.
        """
        for optimizer, state in zip(self._optimizers.optimizers, state_dict["parts"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = list(self._optimizers.groups())  # load_state_dict makes new groups


def make_optimizers(model: nn.Module, options: OptimizerOptions) -> Optimizers:
    """Make optimizers for the trainable parameters of a model.

    Biases, norms and all other parameters with at most one dimension have no weight decay, and neither have parameters
    that a module lists in its attribute `no_weight_decay` (a collection of names of its own parameters).

    Args:
        model: The model, already on its device.
        options: Options of the optimizers.

    Returns:
        The optimizers.

    Raises:
        SettingsError: The name is unknown, a value is out of range or missing, a prefix matches nothing, or the model
            has no trainable parameter.
    """
    _check(options)
    groups = _parameter_groups(model, options)
    dense, sparse, plain = ([group for group in groups if group["kind"] == kind] for kind in KINDS)
    if not groups:
        raise SettingsError(
            "optimizer: found no trainable parameter, expected at least one; unfreeze a part of the model"
        )
    if sparse and options.name == "sgd" and options.sparse_lr is None:
        raise SettingsError("optimizer.sparse_lr: found none, expected a rate: sparse parameters are trained by Adam")
    if plain and options.plain_lr is None:
        raise SettingsError("optimizer.plain_lr: found none, expected a rate for the parameters that plain SGD trains")
    optimizers: list[torch.optim.Optimizer] = []
    if dense:
        optimizers.append(OPTIMIZERS[options.name](dense, options))
    if sparse:
        optimizers.append(LazyAdam(sparse, betas=options.betas, eps=options.eps))
    if plain:
        optimizers.append(torch.optim.SGD(plain, lr=plain[0]["lr"], foreach=False))
    return Optimizers(optimizers)


def sparse_parameter_names(model: nn.Module) -> dict[str, str]:
    """Find the parameters with sparse gradients: the `weight` of each module with `sparse=True`.

    Args:
        model: The model.

    Returns:
        Kind of each of the parameters, "sparse" or "plain", by parameter name.
    """
    return {
        f"{prefix}.weight" if prefix else "weight": "plain" if getattr(module, "plain_sgd", False) is True else "sparse"
        for prefix, module in model.named_modules()
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
    """Check if one fused kernel can update all groups; on a CPU, Adam is then six times as fast as with foreach."""
    parameters = [parameter for group in groups for _, parameter in group["params"]]
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)


def _parameter_groups(model: nn.Module, options: OptimizerOptions) -> list[Group]:
    """Make a group for each combination of prefix, weight decay and kind, in the order of the parameters."""
    sparse_names, undecayed = sparse_parameter_names(model), _declared_undecayed(model)
    trainable = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    for prefix in options.rate_factors:
        if not any(name.startswith(prefix) for name, _ in trainable):
            roots = sorted({name.split(".")[0] + "." for name, _ in trainable})
            raise SettingsError(
                f"optimizer.rate_factors: prefix {prefix!r} matches no trainable parameter; expected a "
                f"prefix such as {', '.join(roots)}"
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
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
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
