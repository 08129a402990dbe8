"""The model card: a README.md that says what a model is, what it learned from, how good it is and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nlp_app.config import Settings
from nlp_app.modeldir import TaggerParts
from nlp_app.report import aligned
from nlp_app.tasks.tagging import headline


def model_card(
    parts: TaggerParts,
    metrics: Mapping[str, Mapping[str, Any]],
    settings: Settings,
    counts: Mapping[str, Mapping[str, Any]],
) -> str:
    """Markdown for people who find the directory."""
    labels = ", ".join(f"`{label}`" for label in parts.tag_set.labels)
    agreement = parts.about["data"]["agreement"].get(parts.tokenizer.name)
    tokenizer = f"`{parts.tokenizer.name}`" + (
        f", which finds {agreement:.1%} of the training data's own tokens" if agreement is not None else ""
    )
    lines = [
        "# A tagger by nlp_app",
        "",
        f"Labels: {labels}. A BiLSTM-CRF with window features, tags in {parts.tag_set.scheme}; raw text is divided",
        f"by the tokenizer {tokenizer}.",
        "",
        "## Use",
        "",
        "```python",
        "import nlp_app",
        'tagger = nlp_app.load("this directory")',
        'for span in tagger.tag("..."):',
        "    span.text, span.label, span.start, span.end, span.score",
        "```",
        "",
        "## Data",
        "",
        "| split | file | sentences | tokens | spans |",
        "|---|---|---|---|---|",
        *(f"| {n} | {c['file']} | {c['sentences']:,} | {c['tokens']:,} | {c['spans']:,} |" for n, c in counts.items()),
        "",
        "## Scores",
        "",
        *_scores(metrics),
        "The epoch was chosen on dev"
        + (", and so dev flatters; test was scored once." if "test" in metrics else "; dev flatters."),
        f"Seed {settings.train.seed}; all settings stand in `config.toml`, all scores in `metrics.json`.",
        "",
        "## Limits",
        "",
        "It knows the labels above and the kind of text it was trained on. A span's score is its probability under",
        "the model, not a promise: check it on text of your own with `evaluate`.",
    ]
    return "\n".join(lines) + "\n"


def _scores(metrics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    for split, scores in metrics.items():
        name = "F1" if "f1" in scores else "accuracy"
        lines += [f"{split}: {name} {headline(dict(scores)):.4f}", ""]
        each = scores.get("per_type", scores.get("per_label", {}))
        lines += ["| label | precision | recall | F1 | gold |", "|---|---|---|---|---|"]
        lines += [
            f"| {label} | {s['precision']:.4f} | {s['recall']:.4f} | {s['f1']:.4f} | {s['support']:,} |"
            for label, s in each.items()
        ]
        lines.append("")
    return lines


def score_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """The scores of each split, overall and per label, for a terminal."""
    blocks = []
    for split, scores in metrics.items():
        rows = [[split, "precision", "recall", "F1", "gold"]]
        each = scores.get("per_type", scores.get("per_label", {}))
        rows += [[f"  {name}", *_row(s)] for name, s in each.items()]
        if "f1" in scores:
            rows.append(["all entities", *_row({**scores, "support": sum(s["support"] for s in each.values())})])
        tokens = f"token accuracy {scores['accuracy']:.4f}, weighted F1 {scores['weighted_f1']:.4f}"
        blocks.append("\n".join([*aligned(rows), tokens]))
    return "\n\n".join(blocks)


def _row(scores: Mapping[str, Any]) -> list[str]:
    return [*(f"{scores[key]:.4f}" for key in ("precision", "recall", "f1")), f"{scores['support']:,}"]
