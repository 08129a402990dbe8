"""Knowledge of a fine-tuned transformer that a student learns: scores of tags, class probabilities, similar words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nlp_app.config import DistillSettings
from nlp_app.core.chunking import chunk_by_size
from nlp_app.core.errors import SettingsError
from nlp_app.core.progress_bar import progress_bar
from nlp_app.inference import Classifier, Tagger, load
from nlp_app.inference.torch_tag_scores import emission_batches
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.training.distillation.word_replacement import WordReplacement

Texts = Sequence[Sequence[str]]


def read_tagger_teacher(distill: DistillSettings) -> TransformerTaggerParts:
    """Load the tagger that the settings name as the teacher.

    Args:
        distill: Settings of the distillation.

    Returns:
        The tagger.

    Raises:
        SettingsError: There is no teacher in the settings, or it is not a tagger on a transformer.
    """
    parts = _load_teacher(distill).parts
    if not isinstance(parts, TransformerTaggerParts):
        raise SettingsError(f"distill.teacher: found {distill.teacher}, expected a tagger on a fine-tuned transformer")
    return parts


def read_classifier_teacher(distill: DistillSettings) -> Classifier:
    """Load the classifier that the settings name as the teacher.

    Args:
        distill: Settings of the distillation.

    Returns:
        The classifier.

    Raises:
        SettingsError: There is no teacher in the settings, or it is not a classifier on a transformer.
    """
    teacher = _load_teacher(distill)
    if not isinstance(teacher, Classifier) or not isinstance(teacher.parts, TransformerClassifierParts):
        raise SettingsError(
            f"distill.teacher: found {distill.teacher}, expected a classifier on a fine-tuned transformer"
        )
    return teacher


def _load_teacher(distill: DistillSettings) -> Tagger | Classifier:
    if not distill.teacher:
        raise SettingsError("distill.teacher: found none, expected the directory of a fine-tuned transformer")
    return load(distill.teacher, precision="auto", backend="torch")


def teacher_crf(parts: TransformerTaggerParts, tag_set: TagSet) -> LinearChainCRF:
    """Copy the teacher's CRF for its student, with only the transitions that the tag scheme allows.

    Args:
        parts: The teacher.
        tag_set: Tags of teacher and student.

    Returns:
        The CRF.
    """
    crf = LinearChainCRF(len(tag_set.tags), tag_set.allowed)
    with torch.no_grad():
        for name in ("transitions", "start", "end"):
            getattr(crf, name).copy_(getattr(parts.network.crf, name))
    return crf


@torch.inference_mode()
def teacher_scores(parts: TransformerTaggerParts, sentences: Texts, quiet: bool) -> NDArray[np.float16]:
    """Compute the teacher's tag scores.

    Args:
        parts: The teacher.
        sentences: Tokens of each sentence.
        quiet: Show no progress bar.

    Returns:
        (tokens, tags) Scores of all tokens, sentence by sentence.
    """
    chunks: list[NDArray[np.float16]] = []
    with progress_bar(quiet, unit=" sentences", total=len(sentences)) as bar:
        for chunk in chunk_by_size(sentences, len):
            encoded = parts.encoder.encode(chunk)
            scores = np.zeros((int(encoded.offsets[-1]), len(parts.tag_set.tags)), dtype=np.float16)
            for rows, emissions, mask in emission_batches(parts, encoded):
                is_token = mask.cpu().numpy()
                indices = encoded.offsets[rows][:, None] + np.arange(is_token.shape[1])
                scores[indices[is_token]] = emissions.cpu().numpy()[is_token]
            chunks.append(scores)
            bar.update(len(chunk))
    return np.concatenate(chunks)


def teacher_probabilities(teacher: Classifier, texts: Sequence[str], quiet: bool) -> NDArray[np.float32]:
    """Compute the teacher's class probabilities.

    Args:
        teacher: The teacher.
        texts: The texts.
        quiet: Show no progress bar.

    Returns:
        (texts, classes) Probabilities.
    """
    chunks: list[NDArray[np.float32]] = []
    with progress_bar(quiet, unit=" texts", total=len(texts)) as bar:
        for chunk in chunk_by_size(texts, len):
            chunks.append(teacher.probabilities(chunk).astype(np.float32))
            bar.update(len(chunk))
    return np.concatenate(chunks)


def fit_word_replacement(
    parts: TransformerTaggerParts | TransformerClassifierParts, sentences: Texts, num_neighbors: int
) -> WordReplacement:
    """Find similar words by the teacher's word embeddings.

    Candidates are the words of the teacher's vocabulary and of the sentences. The embedding of a word is the mean of
    the input embeddings of its subwords.

    Args:
        parts: The teacher.
        sentences: Tokens of each sentence.
        num_neighbors: Number of similar words for each word of the sentences.

    Returns:
        The replacement of words.
    """
    tokenizer = parts.encoder.tokenizer
    lower_case = tokenizer.uncased
    used = sorted(
        {token.lower() if lower_case else token for sentence in sentences for token in sentence if _is_word(token)}
    )
    words = sorted({*(word for word in tokenizer.whole_words() if _is_word(word)), *used})
    subwords = tokenizer.token_subwords(words, [True] * len(words))
    embeddings: Any = parts.network.body.get_input_embeddings()
    table = embeddings.weight.detach().float().cpu().numpy()
    offsets = np.cumsum([0, *map(len, subwords)])
    sums = np.add.reduceat(table[np.concatenate(subwords)], offsets[:-1], axis=0)
    return WordReplacement.from_vectors(words, sums / np.diff(offsets)[:, None], used, num_neighbors, lower_case)


def _is_word(token: str) -> bool:
    return token.isalpha() and (len(token) > 1 or not token.isascii())


def augment_sentences(
    parts: TransformerTaggerParts | TransformerClassifierParts, sentences: Texts, distill: DistillSettings, seed: int
) -> Iterator[list[str]]:
    """Copy sentences with some of their words replaced.

    Args:
        parts: The teacher.
        sentences: Tokens of each sentence.
        distill: Settings of the distillation; `augmented_copies` is the number of copies of each sentence.
        seed: Seed of the run.

    Yields:
        Tokens of a copy; all sentences once, then all again.
    """
    if not distill.augmented_copies:
        return
    replacement = fit_word_replacement(parts, sentences, distill.num_neighbors)
    for number in range(distill.augmented_copies):
        random = np.random.default_rng((seed, number, 3))
        yield from replacement.replace_words(
            sentences, distill.replacement_rate, distill.random_replacement_rate, random
        )


def with_scores(
    columns: RaggedColumns, scores: NDArray[np.float16], gold_weights: NDArray[np.float32]
) -> RaggedColumns:
    """Add the teacher's scores to encoded sentences.

    Args:
        columns: The encoded sentences.
        scores: (tokens, tags) Scores of the teacher.
        gold_weights: (sentences,) Weight of the gold tags in the loss of each sentence, 0 to 1.

    Returns:
        The columns with the arrays "taught" (scores) and "gold" (weight of each token's sentence).
    """
    token_weights = np.repeat(gold_weights, columns.lengths)
    return RaggedColumns(columns.arrays | {"taught": scores, "gold": token_weights}, columns.offsets)
