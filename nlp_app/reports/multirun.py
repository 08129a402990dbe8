"""What stands on several runs as tables for a terminal: the scores of folds, the trials of a search."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from nlp_app.core.text_table import format_table

_TRIALS_SHOWN = 5

_WIDTH = 110


def fold_table(account: Mapping[str, Any]) -> str:
    """The scores of each fold, their mean and standard deviation, and those over all folds, of a folds.json."""
    columns = {"precision": "precision", "recall": "recall", "f1": "F1"}
    if "f1" not in account["pooled"]:
        columns = {"accuracy": "accuracy", "weighted_f1": "weighted F1"}

    def row(name: str, sentences: str, scores: Mapping[str, float]) -> list[str]:
        return [name, sentences, *(f"{scores[key]:.4f}" for key in columns)]

    rows = [["fold", "sentences", *columns.values()]]
    rows += [row(f"  {n}", f"{each['sentences']:,}", each["scores"]) for n, each in enumerate(account["each"], 1)]
    total = sum(each["sentences"] for each in account["each"])
    rows += [row("mean", "", account["mean"]), row("standard deviation", "", account["standard_deviation"])]
    rows.append(row("all folds together", f"{total:,}", account["pooled"]))
    return "\n".join(format_table(rows))


def trial_table(account: Mapping[str, Any]) -> str:
    """The best trials, which settings mattered, and how to take the scores, of a search.json."""
    trials = account["trials"]
    finished = sorted(
        (trial for trial in trials if trial["state"] == "finished"), key=lambda trial: (-trial["dev"], trial["trial"])
    )
    names = list(trials[0]["settings"])
    shown = finished[:_TRIALS_SHOWN]
    rows = [["trial", *(str(trial["trial"]) for trial in shown)]]
    rows.append(["dev", *(f"{trial['dev']:.4f}" for trial in shown)])
    rows.append(["seconds", *(f"{trial['seconds']:.0f}" for trial in shown)])
    rows += [[f"  {name}", *(f"{trial['settings'][name]:g}" for trial in shown)] for name in names]
    others = {state: sum(trial["state"] == state for trial in trials) for state in ("stopped", "failed")}
    told = "".join(f", {count} {state}" for state, count in others.items() if count)
    lines = [f"{len(finished)} trials finished{told}; the best of them (trial 0: the settings as given)"]
    lines += format_table(rows)
    if "importance" in account:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in account["importance"].items() if share >= 0.01)
        lines += textwrap.wrap(f"what made the difference: {shares}", _WIDTH)
    return "\n".join([*lines, *textwrap.wrap(f"note: {account['note']}", _WIDTH)])
