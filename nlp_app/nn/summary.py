"""Parameter counts of a network and its parts."""

from __future__ import annotations

from torch import nn


def parameter_count(module: nn.Module, trainable_only: bool = False) -> int:
    """Count the parameters of a module.

    Args:
        module: The module.
        trainable_only: Count only parameters with `requires_grad`.

    Returns:
        Number of scalar parameters.
    """
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def summary_table(module: nn.Module) -> str:
    """Format a table of the module's direct children that have parameters.

    Args:
        module: The module.

    Returns:
        A text table with the columns part, kind (class), parameters and trained (trainable parameters); the last line
        is the whole module.
    """
    rows = [
        (name, type(part).__name__, parameter_count(part), parameter_count(part, trainable_only=True))
        for name, part in module.named_children()
    ]
    rows = [row for row in rows if row[2]]
    rows.append(("all", type(module).__name__, parameter_count(module), parameter_count(module, trainable_only=True)))
    cells = [("part", "kind", "parameters", "trained"), *((n, k, f"{c:,}", f"{t:,}") for n, k, c, t in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(f"{n:<{widths[0]}}  {k:<{widths[1]}}  {c:>{widths[2]}}  {t:>{widths[3]}}" for n, k, c, t in cells)
