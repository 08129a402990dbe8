"""Format the results of several runs as tables: cross-validation folds and the trials of a search."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from nlp_app.core.text_table import format_table

_TRIALS_SHOWN = 5

_WIDTH = 110  # columns of wrapped lines


def fold_table(result: Mapping[str, Any]) -> str:
    """Format the scores of a cross-validation.

    Args:
        result: The content of folds.json.

    Returns:
        A table with the scores of each fold, their mean and standard deviation, and the scores over all folds.
    """
    columns = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if "f1" not in result["pooled"]:
        columns = {"accuracy": "accuracy", "weighted_f1": "weighted F1"}

    def row(name: str, sentences: str, scores: Mapping[str, float]) -> list[str]:
        return [name, sentences, *(f"{scores[key]:.4f}" for key in columns)]

    rows = [["fold", "sentences", *columns.values()]]
    rows += [row(f"  {n}", f"{each['sentences']:,}", each["scores"]) for n, each in enumerate(result["each"], 1)]
    total = sum(each["sentences"] for each in result["each"])
    rows += [row("mean", "", result["mean"]), row("standard deviation", "", result["standard_deviation"])]
    rows.append(row("all folds together", f"{total:,}", result["pooled"]))
    return "\n".join(format_table(rows))


def trial_table(result: Mapping[str, Any]) -> str:
    """Format the results of a hyperparameter search.

    Args:
        result: The content of search.json.

    Returns:
        A table of the five best trials, the importance of the settings, and a note on the scores.
    """
    trials = result["trials"]
    finished = sorted(
        (trial for trial in trials if trial["state"] == "finished"), key=lambda trial: (-trial["dev"], trial["trial"])
    )
    names = list(trials[0]["settings"])
    shown = finished[:_TRIALS_SHOWN]
    rows = [["trial", *(str(trial["trial"]) for trial in shown)]]
    rows.append(["dev", *(f"{trial['dev']:.4f}" for trial in shown)])
    rows.append(["seconds", *(f"{trial['seconds']:.0f}" for trial in shown)])
    rows += [[f"  {name}", *(f"{trial['settings'][name]:g}" for trial in shown)] for name in names]
    unfinished = {state: sum(trial["state"] == state for trial in trials) for state in ("stopped", "failed")}
    counts = "".join(f", {count} {state}" for state, count in unfinished.items() if count)
    lines = [f"{len(finished)} trials finished{counts}; the best trials (trial 0 has the given settings):"]
    lines += format_table(rows)
    if "importance" in result:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in result["importance"].items() if share >= 0.01)
        lines += textwrap.wrap(f"importance of the settings: {shares}", _WIDTH)
    return "\n".join([*lines, *textwrap.wrap(f"note: {result['note']}", _WIDTH)])
