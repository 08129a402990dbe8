"""How large a network is: parameters by part, as a table."""

from __future__ import annotations

from torch import nn


def parameter_count(module: nn.Module, trainable_only: bool = False) -> int:
    """Numbers in the module's parameters."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def summary_table(module: nn.Module) -> str:
    """A line for each part that has parameters: its name, its kind, its parameters, how many are trained."""
    rows = [
        (name, type(part).__name__, parameter_count(part), parameter_count(part, trainable_only=True))
        for name, part in module.named_children()
    ]
    rows = [row for row in rows if row[2]]
    rows.append(("all", type(module).__name__, parameter_count(module), parameter_count(module, trainable_only=True)))
    cells = [("part", "kind", "parameters", "trained"), *((n, k, f"{c:,}", f"{t:,}") for n, k, c, t in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(f"{n:<{widths[0]}}  {k:<{widths[1]}}  {c:>{widths[2]}}  {t:>{widths[3]}}" for n, k, c, t in cells)
