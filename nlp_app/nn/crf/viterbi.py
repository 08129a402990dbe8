"""Viterbi decoding of a batch: the best path and the n best paths of each row (Rabiner 1989, section III.B).

The forward recursion runs in float64 on the device of the scores and stores only the best scores. Backtracking, and all
of a single row on the CPU, is NumPy's work: `nlp_app.numerics.viterbi`. Among paths of equal score, the one with the
lowest tag at the last position is selected, then the one with the lowest tag at the position before it, and so on.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlp_app.nn.crf.scores import Scores
from nlp_app.numerics.viterbi import backtrack, best_path, check_path_found


def best_paths(scores: Scores) -> list[list[int]]:
    """Find the best path of each row.

    Args:
        scores: Scores of the batch.

    Returns:
        The tag ids of each row's real positions.

    Raises:
        ValueError: If a row has no permitted path.
    """
    if len(scores.emissions) == 1 and scores.emissions.device.type == "cpu":
        return [best_path(scores.row(), scores.transitions)]
    # (L, T, B): emissions, replaced in place by the best prefix scores. With the batch as the innermost dimension, each
    # step works on one contiguous block.
    best = scores.emissions.permute(1, 2, 0).clone(memory_format=torch.contiguous_format)
    _, size, rows = best.shape
    best[0] += scores.start.unsqueeze(1)
    between = scores.between.unsqueeze(2)
    candidates, highest = best.new_empty((size, size, rows)), best.new_empty((size, rows))  # (from, to, row)
    sources, targets = best.unsqueeze(2).unbind(0), best.unbind(0)
    for source, target in zip(sources, targets[1:], strict=False):
        torch.add(source, between, out=candidates)
        torch.amax(candidates, 0, out=highest)
        target.add_(highest)

    return backtrack(best.cpu().numpy(), scores.lengths.cpu().numpy(), scores.transitions)


def n_best_paths(scores: Scores, log_partition: Tensor, n: int) -> list[list[tuple[list[int], float]]]:
    """Find the `n` best paths of each row.

    Args:
        scores: Scores of the batch.
        log_partition: log Z of each row, (B,).
        n: Number of paths, at least 1.

    Returns:
        For each row, pairs of a path and its log probability, best first; fewer than `n` if fewer paths are permitted.

    Raises:
        ValueError: If a row has no permitted path.
    """
    emissions = scores.emissions
    rows, steps, size = emissions.shape
    best = emissions.new_full((rows, size, n), -math.inf)  # scores of the n best prefixes that end in each tag
    best[:, :, 0] = scores.start + emissions[:, 0]
    prefixes, predecessors = [best], []
    for step in range(1, steps):
        candidates = best.unsqueeze(3) + scores.between.unsqueeze(1)  # (B, from, rank, to)
        top = candidates.flatten(1, 2).sort(dim=1, descending=True, stable=True)
        best = top.values[:, :n].transpose(1, 2) + emissions[:, step].unsqueeze(2)
        prefixes.append(best)
        predecessors.append(top.indices[:, :n].transpose(1, 2).flatten(1))  # (B, T * n) of numbers tag * n + rank

    last = scores.lengths - 1
    ends = torch.stack(prefixes)[last, torch.arange(rows, device=last.device)] + scores.end.unsqueeze(1)
    top = ends.flatten(1).sort(dim=1, descending=True, stable=True)
    totals, final = top.values[:, :n], top.indices[:, :n]
    check_path_found(totals[:, 0].cpu().numpy())
    states, at = [final], final
    for step in range(steps - 2, -1, -1):
        at = torch.where((step < last).unsqueeze(1), predecessors[step].gather(1, at), final)
        states.append(at)
    paths = (torch.stack(states[::-1], 2) // n).tolist()  # (B, n, L)
    log_probabilities = (totals - log_partition.unsqueeze(1)).clamp_max(0.0).tolist()
    return [
        [(path[:length], value) for path, value in zip(row, values, strict=True) if value > -math.inf]
        for row, values, length in zip(paths, log_probabilities, scores.lengths.tolist(), strict=True)
    ]
