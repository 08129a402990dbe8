"""Model cards: a README.md that says what a model is, what it learned from, how good it is and how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlp_app.config import (
    ClassificationSettings,
    ClassifierModelSettings,
    Settings,
    TaggerModelSettings,
    TaggingSettings,
    TransformerClassificationSettings,
    TransformerModelSettings,
    TransformerTaggerModelSettings,
    TransformerTaggingSettings,
)
from nlp_app.core.text_table import format_table
from nlp_app.inference.sharing import front_matter
from nlp_app.metrics.spans import selection_score

if TYPE_CHECKING:
    from nlp_app.models import AnyClassifierParts, AnyTaggerParts


def tagger_card(
    parts: AnyTaggerParts,
    metrics: Mapping[str, Mapping[str, Any]],
    settings: TaggingSettings | TransformerTaggingSettings,
    counts: Mapping[str, Mapping[str, Any]],
) -> str:
    """Markdown for people who find the directory."""
    labels = ", ".join(f"`{label}`" for label in parts.tag_set.labels)
    agreement = parts.about["data"]["agreement"].get(parts.tokenizer.name)
    tokenizer = f"`{parts.tokenizer.name}`" + (
        f", which finds {agreement:.1%} of the training data's own tokens" if agreement is not None else ""
    )
    lines = [
        front_matter(parts, metrics, _files(counts), getattr(settings.model, "pretrained", "")),
        "# A tagger by nlp_app",
        "",
        f"Labels: {labels}. It is {_kind_of_tagger(settings.model)}, tags in {parts.tag_set.scheme};",
        f"raw text is divided by the tokenizer {tokenizer}.",
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
        *_scores(metrics, settings),
        "## Limits",
        "",
        "It knows the labels above and the kind of text it was trained on. A span's score is its probability under",
        "the model, not a promise: check it on text of your own with `evaluate`.",
    ]
    return "\n".join(lines) + "\n"


def classifier_card(
    parts: AnyClassifierParts,
    metrics: Mapping[str, Mapping[str, Any]],
    settings: ClassificationSettings | TransformerClassificationSettings,
    counts: Mapping[str, Mapping[str, Any]],
) -> str:
    """Markdown for people who find the directory."""
    classes = parts.class_set
    shown = ", ".join(f"`{label}`" for label in classes.labels[:50])
    more = f" and {len(classes.labels) - 50:,} more, in `nlp_app.json`" if len(classes.labels) > 50 else ""
    lines = [
        front_matter(parts, metrics, _files(counts), getattr(settings.model, "pretrained", "")),
        "# A classifier by nlp_app",
        "",
        f"Classes: {shown}{more}. "
        + ("A text may have several, or none." if classes.multi_label else "A text has one."),
        f"It is {_kind_of_classifier(settings.model)}.",
        "",
        "## Use",
        "",
        "```python",
        "import nlp_app",
        'classifier = nlp_app.load("this directory")',
        *(
            ['for found in classifier.classify("..."):', "    found.label, found.score"]
            if classes.multi_label
            else ['found = classifier.classify("...")', "found.label, found.score"]
        ),
        "```",
        "",
        "## Data",
        "",
        "| split | file | texts | labels |",
        "|---|---|---|---|",
        *(f"| {n} | {c['file']} | {c['texts']:,} | {c['labels']:,} |" for n, c in counts.items()),
        "",
        *_scores(metrics, settings),
        "## Limits",
        "",
        "It knows the classes above and the kind of text it was trained on; whatever it is given, it looks for those.",
        *(
            [
                f"A score is a probability, fitted on dev (temperature {parts.decision.temperature:.2f}); on texts of",
                "another kind it may be off: check it on text of your own with `evaluate`.",
            ]
            if "dev" in counts
            else ["There was no dev set, so nothing fitted the scores to what comes true: expect them to be off."]
        ),
    ]
    return "\n".join(lines) + "\n"


def _files(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {split: each["file"] for split, each in counts.items()}


def _kind_of_tagger(model: TaggerModelSettings | TransformerTaggerModelSettings) -> str:
    if isinstance(model, TransformerTaggerModelSettings):
        between = ", a BiLSTM" if model.lstm_hidden_size else ""
        head = "a CRF" if model.head == "crf" else "a softmax for each token"
        return f"`{Path(model.pretrained or model.initial_model).name}`, fine-tuned{between} and {head}"
    return "a BiLSTM-CRF with window features"


def _kind_of_classifier(model: ClassifierModelSettings | TransformerModelSettings) -> str:
    if isinstance(model, TransformerModelSettings):
        return f"`{Path(model.pretrained).name}`, fine-tuned"
    kinds = {"embedding_bag": "a bag of n-grams", "textcnn": "convolutions over words"}
    return kinds.get(model.kind, "a bag of n-grams and convolutions over words")


def _scores(metrics: Mapping[str, Mapping[str, Any]], settings: Settings) -> list[str]:
    """The scores of each split, and how they came about."""
    lines = ["## Scores", ""]
    for split, scores in metrics.items():
        lines += [f"{split}: {_headline(scores)}", ""]
        each = scores.get("per_type", scores.get("per_label", {}))
        lines += ["| label | precision | recall | F1 | gold |", "|---|---|---|---|---|"]
        lines += [
            f"| {label} | {s['precision']:.4f} | {s['recall']:.4f} | {s['f1']:.4f} | {s['support']:,} |"
            for label, s in each.items()
        ]
        lines.append("")
    chosen = ", and so dev flatters; test was scored once." if "test" in metrics else "; dev flatters."
    return [
        *lines,
        f"The epoch was chosen on dev{chosen}" if "dev" in metrics else "The model is the last epoch's.",
        f"Seed {settings.train.seed}; all settings stand in `config.toml`, all scores in `metrics.json`.",
        "",
    ]


def _headline(scores: Mapping[str, Any]) -> str:
    if "f1" in scores:
        return f"F1 {selection_score(dict(scores)):.4f}"
    names = {"accuracy": "accuracy", "micro_f1": "micro F1", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
    return ", ".join(f"{name} {scores[key]:.4f}" for key, name in names.items() if key in scores)


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
        blocks.append("\n".join([*format_table(rows), tokens]))
    return "\n\n".join(blocks)


def _row(scores: Mapping[str, Any]) -> list[str]:
    return [*(f"{scores[key]:.4f}" for key in ("precision", "recall", "f1")), f"{scores['support']:,}"]
