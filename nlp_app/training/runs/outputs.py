"""Write the output files of a run: history, scores, settings, model card and training curves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nlp_app import engine
from nlp_app.config import Settings, write_settings
from nlp_app.core.files import write_text
from nlp_app.reports.plots import draw_history, plotting_available
from nlp_app.training.runs.directory import RunDirectory
from nlp_app.training.runs.progress import Progress


def history_line(report: engine.EpochReport, learning_rates: Mapping[str, float]) -> dict[str, Any]:
    """Make the line of an epoch in history.jsonl.

    Args:
        report: The report of the epoch.
        learning_rates: The current learning rate of each group of parameters, by name.

    Returns:
        The line as a JSON object.
    """
    return {
        "epoch": report.epoch,
        "step": report.step,
        "train_loss": report.train_loss,
        "dev": report.metrics,
        "best": report.is_best,
        "rates": learning_rates,
        "skipped": report.skipped,
        "seconds": round(report.seconds, 3),
    }


def write_run_outputs(
    run: RunDirectory, settings: Settings, metrics: Mapping[str, Any], card: str, progress: Progress
) -> None:
    """Write metrics.json, config.toml, README.md and, if matplotlib is installed, history.png.

    Args:
        run: The run directory.
        settings: The settings of the run.
        metrics: Scores by split.
        card: The model card in Markdown.
        progress: Shows a note if history.png cannot be drawn.
    """
    write_text(run.output / "metrics.json", json.dumps(metrics, ensure_ascii=False, indent=1) + "\n")
    write_text(run.output / "config.toml", write_settings(settings))
    write_text(run.output / "README.md", card)
    if not settings.track.plots:
        return
    if plotting_available():
        history = [json.loads(line) for line in run.read_history()]
        draw_history(history, run.output / "history.png")
    else:
        progress.say("note: history.png needs matplotlib, which is not installed; pip install 'nlp-app[plot]'")
