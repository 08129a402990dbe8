"""Model cards: a README.md with a model's labels, usage, training data, scores and limits; and score tables."""

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
    """Write the model card of a tagger.

    Args:
        parts: The model.
        metrics: Scores by split, as in metrics.json.
        settings: The settings of the run.
        counts: File name and numbers of sentences, tokens and spans, by split.

    Returns:
        The card, as Markdown with metadata for the Hugging Face Hub.
    """
    labels = ", ".join(f"`{label}`" for label in parts.tag_set.labels)
    agreement = parts.about["data"]["agreement"].get(parts.tokenizer.name)
    tokenizer = f"Raw text is tokenized with the tokenizer `{parts.tokenizer.name}`"
    if agreement is not None:
        tokenizer += f", which reproduces {agreement:.1%} of the tokens in the training data"
    lines = [
        front_matter(parts, metrics, _files(counts), getattr(settings.model, "pretrained", "")),
        "# Tagger trained with nlp_app",
        "",
        f"This sequence labeling model is {_kind_of_tagger(settings.model)}.",
        f"It was trained with the tag scheme {parts.tag_set.scheme}.",
        f"{tokenizer}.",
        "",
        f"Labels: {labels}.",
        "",
        "## Usage",
        "",
        "```python",
        "import nlp_app",
        "",
        'tagger = nlp_app.load("path/to/this/directory")',
        'for span in tagger.tag("Some text."):',
        "    print(span.text, span.label, span.start, span.end, span.score)",
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
        "The model predicts only the labels above, and works best on text that is similar to its training data.",
        "The score of a span is the model's estimate of its probability, and may be too high or too low on your text.",
        "Check the model on your own labeled text with `nlp-app evaluate`.",
    ]
    return "\n".join(lines) + "\n"


def classifier_card(
    parts: AnyClassifierParts,
    metrics: Mapping[str, Mapping[str, Any]],
    settings: ClassificationSettings | TransformerClassificationSettings,
    counts: Mapping[str, Mapping[str, Any]],
) -> str:
    """Write the model card of a classifier.

    Args:
        parts: The model.
        metrics: Scores by split, as in metrics.json.
        settings: The settings of the run.
        counts: File name and numbers of texts and labels, by split.

    Returns:
        The card, as Markdown with metadata for the Hugging Face Hub.
    """
    classes = parts.class_set
    shown = ", ".join(f"`{label}`" for label in classes.labels[:50])
    more = f", and {len(classes.labels) - 50:,} more in `nlp_app.json`" if len(classes.labels) > 50 else ""
    lines = [
        front_matter(parts, metrics, _files(counts), getattr(settings.model, "pretrained", "")),
        "# Text classifier trained with nlp_app",
        "",
        f"This text classification model is {_kind_of_classifier(settings.model)}.",
        "A text may have several classes, or none." if classes.multi_label else "Each text has exactly one class.",
        "",
        f"Classes: {shown}{more}.",
        "",
        "## Usage",
        "",
        "```python",
        "import nlp_app",
        "",
        'classifier = nlp_app.load("path/to/this/directory")',
        *(
            ['for result in classifier.classify("Some text."):', "    print(result.label, result.score)"]
            if classes.multi_label
            else ['result = classifier.classify("Some text.")', "print(result.label, result.score)"]
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
        "The model predicts only the classes above, and works best on text that is similar to its training data.",
        *(
            [
                f"A score is a probability, calibrated on the dev set (temperature {parts.decision.temperature:.2f}).",
                "It may be too high or too low on other kinds of text.",
                "Check the model on your own labeled text with `nlp-app evaluate`.",
            ]
            if "dev" in counts
            else ["There was no dev set, so the scores are not calibrated: expect them to be too high or too low."]
        ),
    ]
    return "\n".join(lines) + "\n"


def _files(counts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {split: facts["file"] for split, facts in counts.items()}


def _kind_of_tagger(model: TaggerModelSettings | TransformerTaggerModelSettings) -> str:
    if isinstance(model, TransformerTaggerModelSettings):
        lstm = "a BiLSTM and " if model.lstm_hidden_size else ""
        head = "a CRF" if model.head == "crf" else "a softmax layer"
        return f"a fine-tuned `{Path(model.pretrained or model.initial_model).name}` with {lstm}{head}"
    return "a BiLSTM-CRF with window features"


def _kind_of_classifier(model: ClassifierModelSettings | TransformerModelSettings) -> str:
    if isinstance(model, TransformerModelSettings):
        return f"a fine-tuned `{Path(model.pretrained).name}`"
    kinds = {"embedding_bag": "a bag-of-n-grams model", "textcnn": "a convolutional network over words"}
    return kinds.get(model.kind, "a combination of a bag-of-n-grams model and a convolutional network over words")


def _scores(metrics: Mapping[str, Mapping[str, Any]], settings: Settings) -> list[str]:
    """Write the section with the scores of each split, and how the model was selected."""
    lines = ["## Scores", ""]
    for split, scores in metrics.items():
        lines += [f"{split}: {_headline(scores)}", ""]
        per_label = scores.get("per_type", scores.get("per_label", {}))
        lines += ["| label | precision | recall | F1 | gold |", "|---|---|---|---|---|"]
        lines += [
            f"| {label} | {s['precision']:.4f} | {s['recall']:.4f} | {s['f1']:.4f} | {s['support']:,} |"
            for label, s in per_label.items()
        ]
        lines.append("")
    if "dev" in metrics:
        lines.append("The dev set was used to select the best epoch, so its scores are optimistic.")
        if "test" in metrics:
            lines.append("The test set was evaluated once, with the final model.")
    else:
        lines.append("There was no dev set: the model is from the last epoch.")
    return [
        *lines,
        f"Random seed: {settings.train.seed}. `config.toml` has all settings, and `metrics.json` all scores.",
        "",
    ]


def _headline(scores: Mapping[str, Any]) -> str:
    if "f1" in scores:
        return f"F1 {selection_score(dict(scores)):.4f}"
    names = {"accuracy": "accuracy", "micro_f1": "micro F1", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
    return ", ".join(f"{name} {scores[key]:.4f}" for key, name in names.items() if key in scores)


def score_table(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Format the scores of a tagger as tables for the terminal.

    Args:
        metrics: Scores by split, as in metrics.json.

    Returns:
        One table for each split, per label and overall.
    """
    blocks = []
    for split, scores in metrics.items():
        rows = [[split, "precision", "recall", "F1", "gold"]]
        per_label = scores.get("per_type", scores.get("per_label", {}))
        rows += [[f"  {name}", *_row(s)] for name, s in per_label.items()]
        if "f1" in scores:
            rows.append(["all entities", *_row({**scores, "support": sum(s["support"] for s in per_label.values())})])
        tokens = f"token accuracy {scores['accuracy']:.4f}, weighted F1 {scores['weighted_f1']:.4f}"
        blocks.append("\n".join([*format_table(rows), tokens]))
    return "\n\n".join(blocks)


def _row(scores: Mapping[str, Any]) -> list[str]:
    return [*(f"{scores[key]:.4f}" for key in ("precision", "recall", "f1")), f"{scores['support']:,}"]
