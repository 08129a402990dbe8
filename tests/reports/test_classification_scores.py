"""Tables of classification scores, compared cell by cell."""

from __future__ import annotations

import re

from nlp_app.core.text_table import display_width, shorten
from nlp_app.labels.class_set import ClassSet
from nlp_app.metrics.classes import score_classes
from nlp_app.reports.classification_scores import class_score_table, confusion_table


def numbered(count: int) -> dict[str, object]:
    """Scores of classes 000, 001, ...; class i has i + 1 texts. Texts of the last class are predicted as the first."""
    gold = [(f"{number:03}",) for number in range(count) for _ in range(number + 1)]
    found = [("000",) if each == (f"{count - 1:03}",) else each for each in gold]
    return score_classes(ClassSet.of(label for (label,) in gold), gold, found)


def test_each_split_has_its_table() -> None:
    gold, found = [("猫",), ("猫",), ("dog",), ("dog",)], [("猫",), ("dog",), ("dog",), ("dog",)]
    scores = score_classes(ClassSet(("dog", "猫")), gold, found)
    calibrated = {**scores, "calibration": {"ece": 0.25, "nll": 1.0, "bins": []}}
    first, second = class_score_table({"dev": scores, "test": calibrated}).split("\n\n")
    assert first.splitlines() == [
        "dev    precision  recall      F1  gold",
        "  dog     0.6667  1.0000  0.8000     2",
        "  猫      1.0000  0.5000  0.6667     2",
        "accuracy 0.7500, weighted F1 0.7333, macro F1 0.7333",
    ]
    assert second.endswith("macro F1 0.7333, ECE 0.2500")


def test_the_most_frequent_classes_are_shown() -> None:
    lines = class_score_table({"test": numbered(40)}).splitlines()
    assert [line.split()[0] for line in lines[1:31]] == [f"{number:03}" for number in range(10, 40)]
    assert lines[31:] == ["  ... and 10 more in metrics.json", lines[-1]]
    assert "more in" not in class_score_table({"test": numbered(30)})


def test_several_classes_per_text() -> None:
    scores = score_classes(ClassSet(("a", "b"), multi_label=True), [("a", "b"), ("a",)], [("a",), ("a",)])
    table = class_score_table({"test": scores}).splitlines()
    assert table[-2].split() == ["all", "labels", "1.0000", "0.6667", "0.8000", "3"]
    assert table[-1] == (
        "micro F1 0.8000, macro F1 0.5000, weighted F1 0.6667, samples F1 0.8333, subset accuracy 0.5000"
    )
    assert confusion_table(scores) == ""


def test_a_few_classes_have_a_matrix() -> None:
    gold, found = [("猫",), ("猫",), ("dog",)], [("猫",), ("dog",), ("dog",)]
    assert confusion_table(score_classes(ClassSet(("dog", "猫")), gold, found)).splitlines() == [
        "gold \\ predicted  dog  猫",
        "  dog               1   .",
        "  猫                1   1",
    ]
    assert len(confusion_table(numbered(12)).splitlines()) == 13


def test_many_classes_have_a_list_of_pairs() -> None:
    assert confusion_table(numbered(13)).splitlines() == [
        "most often confused",
        "gold  predicted  texts",
        "012         000     13",
    ]
    perfect = [(f"{number}",) for number in range(300)]
    assert "no text" in confusion_table(score_classes(ClassSet.of(label for (label,) in perfect), perfect, perfect))


def test_labels_take_one_line_of_bounded_width() -> None:
    assert shorten("a label") == "a label"
    assert shorten("two\nlines\x1b[31m") == "two\\nlines\\x1b[31m"
    for label in ("x" * 500, "长" * 500, "\n" * 500):
        assert display_width(shorten(label, 12)) in (11, 12)
        assert shorten(label, 12).endswith("…")
    scores = score_classes(ClassSet(("长" * 50, "b\n")), [("长" * 50,), ("b\n",)], [("b\n",), ("b\n",)])
    for text in (class_score_table({"test": scores}), confusion_table(scores)):
        assert len(text.splitlines()) in (3, 4)
        assert all(display_width(line) < 120 for line in text.splitlines())
        assert not re.search(r"长{20}", text)
