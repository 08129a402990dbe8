"""Plots: complete files with the right content, with any labels and fonts."""

from __future__ import annotations

import logging
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")

import matplotlib
from matplotlib import pyplot
from matplotlib.font_manager import FontProperties, fontManager
from matplotlib.image import imread

from nlp_app.core.errors import DataError, SettingsError
from nlp_app.reports.plots import (
    confusion_figure,
    draw_confusion,
    draw_history,
    history_figure,
    label_font,
    plotting_available,
)


def line(epoch: int, dev: dict[str, Any] | None, best: bool) -> dict[str, Any]:
    return {"epoch": epoch, "step": 10 * epoch, "train_loss": 1 / epoch, "dev": dev, "best": best, "seconds": 1.0}


TAGS = {"f1": 0.5, "precision": 0.6, "recall": 0.4, "accuracy": 0.9, "weighted_f1": 0.9, "per_type": {}}
PLAIN_TAGS = {"accuracy": 0.9, "weighted_f1": 0.8, "per_label": {}}
CLASSES = {"accuracy": 0.9, "weighted_f1": 0.8, "macro_f1": 0.7, "per_label": {}, "confused": []}
SEVERAL = CLASSES | {"micro_f1": 0.6, "precision": 0.5, "recall": 0.5, "samples_f1": 0.4}


def assert_png(path: Path) -> None:
    content = path.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert content[-8:-4] == b"IEND"
    assert min(struct.unpack(">II", content[16:24])) > 200
    assert np.ptp(imread(path)) > 0.5
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("dev", "curves"),
    [
        (TAGS, {"F1": 0.5, "precision": 0.6, "recall": 0.4}),
        (PLAIN_TAGS, {"accuracy": 0.9, "weighted F1": 0.8}),
        (CLASSES, {"macro F1": 0.7, "weighted F1": 0.8, "accuracy": 0.9}),
        (SEVERAL, {"micro F1": 0.6, "macro F1": 0.7, "weighted F1": 0.8}),
    ],
)
def test_a_history_shows_loss_and_scores(dev: dict[str, Any], curves: dict[str, float], tmp_path: Path) -> None:
    lines = [line(1, dev, True), line(2, dev, True), line(3, dev, False)]
    draw_history(lines, tmp_path / "history.png")
    assert_png(tmp_path / "history.png")
    loss, scores = history_figure(lines).axes
    assert loss.lines[0].get_xydata().tolist() == [[1, 1], [2, 1 / 2], [3, 1 / 3]]
    shown = {each.get_label(): list(each.get_ydata()) for each in scores.lines}
    assert shown.pop("best epoch: 2") == [0, 1]
    assert shown == {name: [value] * 3 for name, value in curves.items()}


@pytest.mark.parametrize(
    ("lines", "panels"), [([line(1, CLASSES, True)], 2), ([line(1, None, True), line(2, None, True)], 1)]
)
def test_a_history_of_one_epoch_or_without_dev(lines: list[dict[str, Any]], panels: int, tmp_path: Path) -> None:
    draw_history(lines, tmp_path / "history.png")
    assert_png(tmp_path / "history.png")
    assert len(history_figure(lines).axes) == panels


@pytest.mark.parametrize(
    "labels",
    [
        ["only"],
        ["体育", "财经", "mixed 混合", "かな"],
        ["$x$", "$\\frac{", "_a", "%", "\\", "^", ""],
        ["a\nb\t", "\x00", "x" * 300, "好" * 300],
        ["\U0001f600", "\U00020000", "\ue000", "عربي", "𓀀"],
    ],
)
def test_any_label_can_be_drawn(labels: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    matrix = np.diag(np.arange(len(labels))).tolist()  # the first class has no text
    draw_confusion(labels, matrix, tmp_path / "confusion.png")
    assert_png(tmp_path / "confusion.png")
    axes = confusion_figure(labels, matrix).axes[0]
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert len(names) == len(labels)
    assert all(name.isprintable() and len(name) <= 40 for name in names)
    cells = [text.get_text() for text in axes.texts]
    assert caplog.records == []
    assert cells == [str(number) for number in range(1, len(labels))]


@pytest.mark.parametrize(("size", "names", "cells"), [(25, 25, 25), (26, 26, 0), (60, 60, 0), (61, 0, 0), (200, 0, 0)])
def test_many_classes_have_less_text(size: int, names: int, cells: int, tmp_path: Path) -> None:
    labels, matrix = [f"class {number}" for number in range(size)], np.eye(size, dtype=int).tolist()
    draw_confusion(labels, matrix, tmp_path / "c.png")
    assert_png(tmp_path / "c.png")
    axes = confusion_figure(labels, matrix).axes[0]
    assert sum(tick.get_text().startswith("class") for tick in axes.get_xticklabels()) == names
    assert len(axes.texts) == cells


def test_colors_are_shares_of_gold() -> None:
    axes = confusion_figure(["a", "b"], [[30, 10], [0, 0]]).axes[0]
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]


def test_a_name_without_a_font_is_shown_by_its_index() -> None:
    axes = confusion_figure(["art", "𓀀", "b"], np.eye(3, dtype=int).tolist()).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["art", "#1", "b"]
    assert "metrics.json" in axes.get_xlabel()


def test_fallback_fonts_add_characters() -> None:
    """With fonts that are part of matplotlib."""
    default, has = label_font(["no such font"])
    assert has.issuperset("plain")
    assert not has & {"\ue000", "\U0010ffff"}
    font, characters = label_font(["no such font", "STIXNonUnicode"])
    assert characters > has
    assert "\ue000" in characters
    assert "\U0010ffff" not in characters
    assert default.get_name() == font.get_name() == FontProperties().get_name()


BOLD = ("STIXGeneral", "normal", 700)


def test_a_name_from_several_fonts_is_drawn(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The second font has only a bold face; matplotlib would log a warning."""
    bold = next(each for each in fontManager.ttflist if (each.name, each.style, each.weight) == BOLD)
    monkeypatch.setattr(fontManager, "ttflist", [*fontManager.ttflist, replace(bold, name="Only Bold")])
    monkeypatch.setattr("nlp_app.reports.plots.CJK_FONTS", ("Only Bold",))
    labels, matrix = ["mixed Ⓐ", "b"], [[1, 0], [0, 1]]
    draw_confusion(labels, matrix, tmp_path / "confusion.png")  # a missing glyph would be a warning, and an error here
    assert_png(tmp_path / "confusion.png")
    axes = confusion_figure(labels, matrix).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == labels
    assert caplog.records == []
    assert not logging.getLogger("matplotlib.font_manager").level


def test_a_default_font_that_is_not_installed(caplog: pytest.LogCaptureFixture) -> None:
    with matplotlib.rc_context({"font.family": ["no such font"]}):
        font, characters = label_font([])
    assert font.get_family() == ["DejaVu Sans"]
    assert characters.issuperset("plain")
    assert caplog.records == []


def test_global_state_is_unchanged(tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    draw_history([line(1, CLASSES, True)], tmp_path / "history.png")
    draw_confusion(["体育"], [[1]], tmp_path / "confusion.png")
    assert dict(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


def test_a_path_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="can't be written"):
        draw_confusion(["a"], [[1]], tmp_path / "missing" / "c.png")


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plotting_available()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not plotting_available()
    with pytest.raises(SettingsError, match=r"pip install 'nlp-app\[plot\]'"):
        draw_confusion(["a"], [[1]], tmp_path / "c.png")
    assert not (tmp_path / "c.png").exists()
