"""Small networks that learn from a fine-tuned transformer, beside the gold: its scores for the training texts, for
texts without labels, and for copies of the training texts with other words in them."""

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
from nlp_app.training.tagging.setup import make_parts


def prepare_distilled_tagger(
    settings: DistilledTaggingSettings, data: TaggingData, progress: Progress, start: AnyTaggerParts | None = None
) -> PreparedRun[TaggerParts, EncodedSentences]:
    """An untrained tagger with the tags of its teacher, and what it is to learn: paths as the teacher weighs them."""
    distill, train = settings.distill, settings.train
    _check_files(settings.data.train, distill)
    if settings.model.initial_model or start is not None:
        raise SettingsError(
            f"model.initial_model: found {settings.model.initial_model}, expected none where a teacher is "
            "learned from; leave one out"
        )
    teacher = read_tagger_teacher(distill)
    tag_set = TagSet(teacher.tag_set.labels, teacher.tag_set.scheme)
    unknown = {span.label for sentence in data.train.sentences for span in sentence.spans or ()} - {*tag_set.labels}
    if unknown:
        raise SettingsError(
            f"distill.teacher: found the labels {format_names(unknown)} in {data.train.path}, expected those that "
            f"the teacher learned ({format_names(tag_set.labels)})"
        )
    labeled = [sentence.tokens for sentence in data.train.sentences]
    more: list[list[str]] = []
    if distill.unlabeled:
        options = corpus_options(settings.data, data.tokenizer)
        more = [each.tokens for each in read_corpus(distill.unlabeled, replace(options, format=None)).sentences]
    more = [tokens for tokens in more if tokens]
    sentences = [*labeled, *more, *augment_sentences(teacher, labeled, distill, train.seed)]
    progress.say(_told(distill, (len(labeled), len(more), len(sentences)), "sentences"))
    taught = teacher_scores(teacher, sentences, progress.quiet)
    model = settings.model.model_copy(update={"min_count": distill.min_count})
    student = settings.model_copy(update={"model": model})
    parts = make_parts(student, data, load_vectors(model.vectors, progress.say), tag_set, sentences)
    parts.network.teacher = Teacher(teacher_crf(teacher, tag_set))
    columns = parts.encoder.encode(sentences)
    tags = np.zeros(len(taught), dtype=np.int64)
    gold = tag_set.targets(data.train.sentences)
    tags[: len(gold)] = gold
    shares = np.zeros(len(sentences), dtype=np.float32)
    shares[: len(labeled)] = distill.gold_weight
    columns = with_scores(RaggedColumns(columns.arrays | {"tags": tags}, columns.offsets), taught, shares)
    rates: LearningRates = {
        "rate_factors": {"crf.": train.crf_learning_rate / train.learning_rate},
        "sparse_rate": train.sparse_learning_rate,
    }
    return PreparedRun(parts, EncodedSentences(settings, columns, len(labeled)), rates, _files(settings))


def prepare_distilled_classifier(
    settings: DistilledClassificationSettings, data: ClassData, progress: Progress
) -> PreparedRun[ClassifierParts, DistilledTexts]:
    """An untrained classifier with the classes of its teacher, and what it is to learn: the teacher's probabilities."""
    distill = settings.distill
    _check_files(settings.data.train, distill)
    if settings.train.loss != "auto" or settings.train.imbalance in ("focal", "sampler"):
        raise SettingsError(
            f"train.loss: found {settings.train.loss} and imbalance {settings.train.imbalance}, expected auto and none "
            "or weights where a teacher's probabilities are learned"
        )
    teacher = read_classifier_teacher(distill)
    classes = teacher.parts.class_set
    if classes != data.class_set:
        raise SettingsError(
            f"distill.teacher: found the classes {format_names(data.class_set.labels)} in {settings.data.train}, "
            f"expected those that the teacher learned ({format_names(classes.labels)}), and several of them a text or "
            "one as there"
        )
    labeled = list(data.train)
    texts = [record.text for record in labeled]
    texts += _unlabeled_texts(settings)
    unlabeled = len(texts) - len(labeled)
    texts += _varied_texts(settings, [record.text for record in labeled], teacher.parts)
    progress.say(_told(distill, (len(labeled), unlabeled, len(texts)), "texts"))
    targets = teacher_probabilities(teacher, texts, progress.quiet)
    found = classes.decide(targets, teacher.parts.decision.thresholds)
    gold = classes.targets([record.labels or () for record in labeled])
    hot = gold if classes.multi_label else np.eye(len(classes.labels), dtype=np.float32)[gold]
    targets[: len(labeled)] *= 1 - distill.gold_weight
    targets[: len(labeled)] += distill.gold_weight * hot
    records = [
        *labeled,
        *(
            ClassRecord(text, labels, 0)
            for text, labels in zip(texts[len(labeled) :], found[len(labeled) :], strict=True)
        ),
    ]
    model = settings.model.model_copy(update={"min_count": distill.min_count})
    student = settings.model_copy(update={"model": model})
    parts = make_classifier(student, data, load_vectors(model.vectors, progress.say), records)
    rates = table_rates(settings.train, parts.network, classes.multi_label)
    return PreparedRun(parts, DistilledTexts(settings, parts, records, targets, len(labeled)), rates, _files(settings))


def _unlabeled_texts(settings: DistilledClassificationSettings) -> list[str]:
    if not settings.distill.unlabeled:
        return []
    options = replace(read_options(settings.data, labels=False), format=None)
    return [record.text for record in open_classes(settings.distill.unlabeled, options) if record.text.strip()]


def _varied_texts(settings: DistilledClassificationSettings, texts: Sequence[str], teacher: Any) -> list[str]:
    """Copies of texts in which some words are others, all else as it stood."""
    tokenizer = make_tokenizer("basic", do_lower_case=False)
    divided = tokenizer.batch(list(texts))
    words = [
        [text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)]
        for text, tokens in zip(texts, divided, strict=True)
    ]
    copies = []
    for number, tokens in enumerate(augment_sentences(teacher, words, settings.distill, settings.train.seed)):
        place = number % len(texts)
        text, found = texts[place], divided[place]
        ends = [0, *found.ends]
        gaps = [text[end:start] for end, start in zip(ends, [*found.starts, len(text)], strict=True)]
        copies.append("".join(gap + token for gap, token in zip(gaps, [*tokens, ""], strict=True)))
    return copies


def _told(distill: DistillSettings, counts: tuple[int, int, int], kind: str) -> str:
    labeled, unlabeled, total = counts
    return (
        f"{distill.teacher} teaches {total:,} {kind}: {labeled:,} labeled, {unlabeled:,} without labels, "
        f"{total - labeled - unlabeled:,} copies with other words"
    )


def _check_files(train: str, distill: DistillSettings) -> None:
    if not train:
        raise SettingsError("data.train: found none, expected labeled data; give --train FILE")
    if not distill.unlabeled and not distill.augmented_copies:
        raise SettingsError(
            "distill: found neither unlabeled texts nor copies, expected some: a teacher adds little to texts that "
            "are labeled; give --unlabeled FILE"
        )


def _files(settings: DistilledTaggingSettings | DistilledClassificationSettings) -> list[Path]:
    """What a continuation has to find unchanged: the teacher, the unlabeled texts, the vectors."""
    teacher = Path(settings.distill.teacher)
    inside = (
        [path for path in sorted(teacher.iterdir()) if path.suffix in (".json", ".safetensors")]
        if teacher.is_dir()
        else []
    )
    named = [Path(path) for path in (settings.distill.unlabeled, settings.model.vectors) if path]
    return [path for path in [*inside, *named] if path.is_file()]
