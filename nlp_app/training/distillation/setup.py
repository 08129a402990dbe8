"""Distill a fine-tuned transformer (the teacher) into a small network (the student).

The student learns from the gold labels and from the teacher's scores for training texts, unlabeled texts and copies of
training texts with replaced words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nlp_app.config import DistilledClassificationSettings, DistilledTaggingSettings, DistillSettings
from nlp_app.core.errors import SettingsError
from nlp_app.core.text_table import format_names
from nlp_app.core.types import ClassRecord
from nlp_app.data.classification.options import read_options
from nlp_app.data.classification.splits import ClassData
from nlp_app.data.tagging.corpus import read_corpus
from nlp_app.data.tagging.splits import TaggingData, corpus_options
from nlp_app.features.lexicon.word_lists import find_word_list
from nlp_app.formats.classification import open_classes
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import AnyTaggerParts, ClassifierParts, TaggerParts
from nlp_app.nn.tagger import Teacher
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.text import make_tokenizer
from nlp_app.training.classification.examples import DistilledTexts
from nlp_app.training.classification.setup import make_classifier, table_rates
from nlp_app.training.distillation.teacher import (
    augment_sentences,
    read_classifier_teacher,
    read_tagger_teacher,
    teacher_crf,
    teacher_probabilities,
    teacher_scores,
    with_scores,
)
from nlp_app.training.examples import LearningRates, PreparedRun
from nlp_app.training.learner_setup import load_vectors
from nlp_app.training.runs.progress import Progress
from nlp_app.training.tagging.examples import EncodedSentences
from nlp_app.training.tagging.setup import load_resources, make_parts


def prepare_distilled_tagger(
    settings: DistilledTaggingSettings,
    data: TaggingData,
    progress: Progress,
    initial_model: AnyTaggerParts | None = None,
) -> PreparedRun[TaggerParts, EncodedSentences]:
    """Make an untrained tagger with the tags of its teacher, and training sentences with the teacher's scores.

    Args:
        settings: Settings of the run.
        data: The splits.
        progress: Log of the run.
        initial_model: Not supported; has to be None.

    Returns:
        The student, its training sentences and learning rates.

    Raises:
        SettingsError: The settings do not fit together, or not to the teacher or the data.
    """
    distill, train = settings.distill, settings.train
    _check_files(settings.data.train, distill)
    if settings.model.initial_model or initial_model is not None:
        raise SettingsError(
            f"model.initial_model: found {settings.model.initial_model}, but a student of a teacher starts untrained; "
            "remove model.initial_model"
        )
    teacher = read_tagger_teacher(distill)
    tag_set = TagSet(teacher.tag_set.labels, teacher.tag_set.scheme)
    unknown = {span.label for sentence in data.train.sentences for span in sentence.spans or ()} - {*tag_set.labels}
    if unknown:
        raise SettingsError(
            f"distill.teacher: found the labels {format_names(unknown)} in {data.train.path}, expected labels that the "
            f"teacher learned ({format_names(tag_set.labels)})"
        )
    labeled = [sentence.tokens for sentence in data.train.sentences]
    unlabeled: list[list[str]] = []
    if distill.unlabeled:
        options = corpus_options(settings.data, data.tokenizer)
        unlabeled = [each.tokens for each in read_corpus(distill.unlabeled, replace(options, format=None)).sentences]
    unlabeled = [tokens for tokens in unlabeled if tokens]
    sentences = [*labeled, *unlabeled, *augment_sentences(teacher, labeled, distill, train.seed)]
    progress.say(_describe_texts(distill, (len(labeled), len(unlabeled), len(sentences)), "sentences"))
    scores = teacher_scores(teacher, sentences, progress.quiet)
    model = settings.model.model_copy(update={"min_count": distill.min_count})
    student = settings.model_copy(update={"model": model})
    parts = make_parts(student, data, load_resources(student, data, progress), tag_set, sentences)
    parts.network.teacher = Teacher(teacher_crf(teacher, tag_set))
    columns = parts.encoder.encode(sentences)
    tags = np.zeros(len(scores), dtype=np.int64)
    gold = tag_set.targets(data.train.sentences)
    tags[: len(gold)] = gold
    gold_weights = np.zeros(len(sentences), dtype=np.float32)
    gold_weights[: len(labeled)] = distill.gold_weight
    columns = with_scores(RaggedColumns(columns.arrays | {"tags": tags}, columns.offsets), scores, gold_weights)
    rates: LearningRates = {
        "rate_factors": {"crf.": train.crf_learning_rate / train.learning_rate},
        "sparse_rate": train.sparse_learning_rate,
    }
    return PreparedRun(parts, EncodedSentences(settings, columns, len(labeled)), rates, _input_files(settings))


def prepare_distilled_classifier(
    settings: DistilledClassificationSettings, data: ClassData, progress: Progress
) -> PreparedRun[ClassifierParts, DistilledTexts]:
    """Make an untrained classifier with the classes of its teacher, and texts with the teacher's probabilities.

    Args:
        settings: Settings of the run.
        data: The splits.
        progress: Log of the run.

    Returns:
        The student, its training texts and learning rates.

    Raises:
        SettingsError: The settings do not fit together, or not to the teacher or the data.
    """
    distill = settings.distill
    _check_files(settings.data.train, distill)
    if settings.train.loss != "auto" or settings.train.imbalance in ("focal", "sampler"):
        raise SettingsError(
            f"train.loss: found {settings.train.loss} with train.imbalance {settings.train.imbalance}; to learn a "
            "teacher's probabilities, set train.loss to auto and train.imbalance to none or weights"
        )
    teacher = read_classifier_teacher(distill)
    classes = teacher.parts.class_set
    if classes != data.class_set:
        raise SettingsError(
            f"distill.teacher: found the classes {format_names(data.class_set.labels)} in {settings.data.train}, "
            f"expected the teacher's classes ({format_names(classes.labels)}), and one or several per text like the "
            "teacher"
        )
    labeled = list(data.train)
    texts = [record.text for record in labeled]
    texts += _unlabeled_texts(settings)
    unlabeled = len(texts) - len(labeled)
    texts += _augment_texts(settings, [record.text for record in labeled], teacher.parts)
    progress.say(_describe_texts(distill, (len(labeled), unlabeled, len(texts)), "texts"))
    targets = teacher_probabilities(teacher, texts, progress.quiet)
    predicted = classes.decide(targets, teacher.parts.decision.thresholds)
    gold = classes.targets([record.labels or () for record in labeled])
    one_hot = gold if classes.multi_label else np.eye(len(classes.labels), dtype=np.float32)[gold]
    targets[: len(labeled)] *= 1 - distill.gold_weight
    targets[: len(labeled)] += distill.gold_weight * one_hot
    records = [
        *labeled,
        *(
            ClassRecord(text, labels, 0)
            for text, labels in zip(texts[len(labeled) :], predicted[len(labeled) :], strict=True)
        ),
    ]
    model = settings.model.model_copy(update={"min_count": distill.min_count})
    student = settings.model_copy(update={"model": model})
    parts = make_classifier(student, data, load_vectors(model.vectors, progress.say), records)
    rates = table_rates(settings.train, parts.network, classes.multi_label)
    return PreparedRun(
        parts, DistilledTexts(settings, parts, records, targets, len(labeled)), rates, _input_files(settings)
    )


def _unlabeled_texts(settings: DistilledClassificationSettings) -> list[str]:
    if not settings.distill.unlabeled:
        return []
    options = replace(read_options(settings.data, labels=False), format=None)
    return [record.text for record in open_classes(settings.distill.unlabeled, options) if record.text.strip()]


def _augment_texts(settings: DistilledClassificationSettings, texts: Sequence[str], teacher: Any) -> list[str]:
    """Copy texts with some words replaced; everything between words stays."""
    tokenizer = make_tokenizer("basic", do_lower_case=False)
    tokenized = tokenizer.batch(list(texts))
    words = [
        [text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)]
        for text, tokens in zip(texts, tokenized, strict=True)
    ]
    copies = []
    for number, tokens in enumerate(augment_sentences(teacher, words, settings.distill, settings.train.seed)):
        index = number % len(texts)
        text, original = texts[index], tokenized[index]
        ends = [0, *original.ends]
        gaps = [text[end:start] for end, start in zip(ends, [*original.starts, len(text)], strict=True)]
        copies.append("".join(gap + token for gap, token in zip(gaps, [*tokens, ""], strict=True)))
    return copies


def _describe_texts(distill: DistillSettings, counts: tuple[int, int, int], kind: str) -> str:
    labeled, unlabeled, total = counts
    return (
        f"{distill.teacher} scores {total:,} {kind} for training: {labeled:,} labeled, {unlabeled:,} unlabeled, "
        f"{total - labeled - unlabeled:,} copies with replaced words"
    )


def _check_files(train: str, distill: DistillSettings) -> None:
    if not train:
        raise SettingsError("data.train: found none, expected labeled data; add --train FILE")
    if not distill.unlabeled and not distill.augmented_copies:
        raise SettingsError(
            "distill: found neither unlabeled texts nor copies, expected some, as a teacher adds little to labeled "
            "texts; add --unlabeled FILE, or set distill.augmented_copies"
        )


def _input_files(settings: DistilledTaggingSettings | DistilledClassificationSettings) -> list[Path]:
    """List the files that must not change before a run is resumed: teacher, unlabeled texts, vectors and lists."""
    teacher = Path(settings.distill.teacher)
    model_files = (
        [path for path in sorted(teacher.iterdir()) if path.suffix in (".json", ".safetensors")]
        if teacher.is_dir()
        else []
    )
    others = [Path(path) for path in (settings.distill.unlabeled, settings.model.vectors) if path]
    others += [find_word_list(name) for name in getattr(settings.model, "lexicon", ())]
    return [path for path in [*model_files, *others] if path.is_file()]
