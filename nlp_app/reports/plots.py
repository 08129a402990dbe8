"""Plots of a run: loss and scores by epoch, and the confusion matrix. They need matplotlib, an optional dependency.

Figures are made without pyplot, so no global state is changed and no display is needed.
"""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nlp_app.core.errors import SettingsError
from nlp_app.core.files import atomic_file
from nlp_app.core.text_table import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties


MAX_LABELS_WITH_COUNTS = 25  # up to so many labels, the cells of a confusion matrix show counts

MAX_LABELS_WITH_NAMES = 60  # up to so many labels, its axes show names

# Fonts with Chinese, Japanese and Korean characters that come with operating systems and distributions.
CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "PingFang HK",
    "Hiragino Sans GB",
    "Heiti TC",
    "STHeiti",
    "Microsoft YaHei",
    "SimHei",
    "SimSun",
    "Arial Unicode MS",
)

# Curves of dev scores: the first row whose first score is in the history.
_CURVES = (
    {"f1": "F1", "precision": "precision", "recall": "recall"},
    {"micro_f1": "micro F1", "macro_f1": "macro F1", "weighted_f1": "weighted F1"},
    {"macro_f1": "macro F1", "weighted_f1": "weighted F1", "accuracy": "accuracy"},
    {"accuracy": "accuracy", "weighted_f1": "weighted F1"},
)


def plotting_available() -> bool:
    """Check if matplotlib is installed.

    Returns:
        True if plots can be drawn.
    """
    return importlib.util.find_spec("matplotlib") is not None


def draw_history(lines: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Plot loss and dev scores by epoch, and save the plot as PNG.

    Args:
        lines: Lines of history.jsonl, at least one.
        path: The PNG file to write.

    Raises:
        SettingsError: matplotlib is not installed.
        DataError: The file can't be written.
    """
    _save(history_figure(lines), path)


def draw_confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], path: Path) -> None:
    """Plot a confusion matrix, and save the plot as PNG.

    Args:
        labels: The labels.
        matrix: Number of texts by gold label (rows) and predicted label (columns).
        path: The PNG file to write.

    Raises:
        SettingsError: matplotlib is not installed.
        DataError: The file can't be written.
    """
    _save(confusion_figure(labels, matrix), path)


def history_figure(lines: Sequence[Mapping[str, Any]]) -> Figure:
    """Plot loss and dev scores by epoch, with a line at the best epoch.

    Args:
        lines: Lines of history.jsonl, at least one.

    Returns:
        A matplotlib figure with one panel for the loss and, if there are dev scores, one for them.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    figure = _figure(7, 6)
    from matplotlib.ticker import MaxNLocator  # noqa: PLC0415

    epochs = [line["epoch"] for line in lines]
    best = [line["epoch"] for line in lines if line["best"]][-1]
    panels = [({"train_loss": "training loss"}, "loss", lines)]
    scored = [line for line in lines if line["dev"]]
    if scored:
        curves = next(curves for curves in _CURVES if next(iter(curves)) in scored[0]["dev"])
        panels.append((curves, "dev score", [{"epoch": line["epoch"], **line["dev"]} for line in scored]))
    for number, (curves, title, points) in enumerate(panels, 1):
        axes = figure.add_subplot(len(panels), 1, number)
        for key, name in curves.items():
            axes.plot([p["epoch"] for p in points], [p[key] for p in points], marker=".", label=name)
        axes.axvline(best, color="gray", linestyle="--", label=f"best epoch: {best}")
        axes.set_ylabel(title)
        axes.set_xlim(min(epochs) - 0.5, max(epochs) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    axes.set_xlabel("epoch")
    return figure


def confusion_figure(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Figure:
    """Plot a confusion matrix; the color of a cell is its share of the gold label's texts.

    Cells show counts for up to 25 labels, and axes show names for up to 60 labels. A name with characters that no
    installed font has is shown as the index of the label, such as `#3`.

    Args:
        labels: The labels.
        matrix: Number of texts by gold label (rows) and predicted label (columns).

    Returns:
        A matplotlib figure.

    Raises:
        SettingsError: matplotlib is not installed.
    """
    size = min(4 + 0.35 * len(labels), 20)
    figure = _figure(size + 1, size)
    axes = figure.add_subplot()
    counts = np.asarray(matrix, np.int64).reshape(len(labels), len(labels))
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, label="share of gold", fraction=0.046, pad=0.04)
    axes.set_xlabel("predicted")
    axes.set_ylabel("gold")
    if len(labels) <= MAX_LABELS_WITH_NAMES:
        _name_axes(axes, labels)
    if len(labels) <= MAX_LABELS_WITH_COUNTS:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                color = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=7, color=color)
    return figure


def _name_axes(axes: Axes, labels: Sequence[str]) -> None:
    font, characters = label_font(CJK_FONTS)
    names = [shorten(label) for label in labels]
    shown = [name if characters.issuperset(name) else f"#{index}" for index, name in enumerate(names)]
    # A dollar sign in a label does not start a formula.
    axes.set_xticks(range(len(shown)), shown, rotation=90, parse_math=False, fontproperties=font)
    axes.set_yticks(range(len(shown)), shown, parse_math=False, fontproperties=font)
    if shown != names:
        axes.set_xlabel("predicted (#: index in confusion.labels of metrics.json; no installed font has the name)")


def label_font(families: Sequence[str]) -> tuple[FontProperties, set[str]]:
    """Return the default font with installed fallback fonts.

    Args:
        families: Font families to use as fallbacks, in this order, as far as they are installed.

    Returns:
        The font, and all characters that it or its fallbacks can show.
    """
    from matplotlib.font_manager import FontProperties, fontManager, get_font  # noqa: PLC0415

    installed = {font.name for font in fontManager.ttflist}
    characters: set[str] = set()
    with _no_font_warnings():
        names = [FontProperties().get_name(), *(name for name in families if name in installed)]
        font = FontProperties(family=names, size=8)
        for name in names:
            single = font.copy()
            single.set_family(name)
            file = fontManager.findfont(single, fallback_to_default=False)
            characters.update(map(chr, get_font(file).get_charmap()))
    return font, characters


@contextmanager
def _no_font_warnings() -> Iterator[None]:
    """Silence matplotlib's warnings about font families without a regular weight; drawing them does not warn again."""
    logger = logging.getLogger("matplotlib.font_manager")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _figure(width: float, height: float) -> Figure:
    if not plotting_available():
        raise SettingsError("plots need matplotlib, which is not installed; run pip install 'nlp-app[plot]'")
    from matplotlib.figure import Figure  # noqa: PLC0415

    return Figure(figsize=(width, height))


def _save(figure: Figure, path: Path) -> None:
    """Write the plot completely or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight", metadata={"Software": None})
    with atomic_file(path) as stream:
        stream.buffer.write(buffer.getvalue())
