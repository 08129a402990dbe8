"""What a fine-tuned transformer knows, for a smaller network to learn: scores of tags, of classes, and words that may
stand for each other."""

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
from nlp_app.inference.tag_scores import emission_batches
from nlp_app.labels.tag_set import TagSet
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.nn.crf.layer import LinearChainCRF
from nlp_app.storage.ragged import RaggedColumns
from nlp_app.training.distillation.word_replacement import WordReplacement

Texts = Sequence[Sequence[str]]


def read_tagger_teacher(distill: DistillSettings) -> TransformerTaggerParts:
    """The fine-tuned tagger that the settings name."""
    parts = _loaded(distill).parts
    if not isinstance(parts, TransformerTaggerParts):
        raise SettingsError(f"distill.teacher: found {distill.teacher}, expected a tagger on a fine-tuned transformer")
    return parts


def read_classifier_teacher(distill: DistillSettings) -> Classifier:
    """The fine-tuned classifier that the settings name."""
    teacher = _loaded(distill)
    if not isinstance(teacher, Classifier) or not isinstance(teacher.parts, TransformerClassifierParts):
        raise SettingsError(
            f"distill.teacher: found {distill.teacher}, expected a classifier on a fine-tuned transformer"
        )
    return teacher


def _loaded(distill: DistillSettings) -> Tagger | Classifier:
    if not distill.teacher:
        raise SettingsError("distill.teacher: found none, expected the directory of a fine-tuned transformer")
    return load(distill.teacher, precision="auto")


def teacher_crf(parts: TransformerTaggerParts, tag_set: TagSet) -> LinearChainCRF:
    """The teacher's CRF over the tags of its student, which may only follow each other as their scheme has it."""
    crf = LinearChainCRF(len(tag_set.tags), tag_set.allowed)
    with torch.no_grad():
        for name in ("transitions", "start", "end"):
            getattr(crf, name).copy_(getattr(parts.network.crf, name))
    return crf


@torch.inference_mode()
def teacher_scores(parts: TransformerTaggerParts, sentences: Texts, quiet: bool) -> NDArray[np.float16]:
    """(tokens, tags): the teacher's scores of all tokens, sentence after sentence."""
    found: list[NDArray[np.float16]] = []
    with progress_bar(quiet, unit=" sentences", total=len(sentences)) as bar:
        for chunk in chunk_by_size(sentences, len):
            encoded = parts.encoder.encode(chunk)
            scores = np.zeros((int(encoded.offsets[-1]), len(parts.tag_set.tags)), dtype=np.float16)
            for rows, emissions, mask in emission_batches(parts, encoded):
                real = mask.cpu().numpy()
                places = encoded.offsets[rows][:, None] + np.arange(real.shape[1])
                scores[places[real]] = emissions.cpu().numpy()[real]
            found.append(scores)
            bar.update(len(chunk))
    return np.concatenate(found)


def teacher_probabilities(teacher: Classifier, texts: Sequence[str], quiet: bool) -> NDArray[np.float32]:
    """(texts, classes): the teacher's probabilities."""
    found: list[NDArray[np.float32]] = []
    with progress_bar(quiet, unit=" texts", total=len(texts)) as bar:
        for chunk in chunk_by_size(texts, len):
            found.append(teacher.probabilities(chunk).astype(np.float32))
            bar.update(len(chunk))
    return np.concatenate(found)


def fit_substitution(
    parts: TransformerTaggerParts | TransformerClassifierParts, sentences: Texts, nearest: int
) -> WordReplacement:
    """The words of the teacher's vocabulary and of the sentences, near each other as its word embeddings are."""
    tokenizer = parts.encoder.tokenizer
    lower = tokenizer.uncased
    used = sorted(
        {token.lower() if lower else token for sentence in sentences for token in sentence if _is_word(token)}
    )
    words = sorted({*(word for word in tokenizer.whole_words() if _is_word(word)), *used})
    pieces = tokenizer.token_subwords(words, [True] * len(words))
    embeddings: Any = parts.network.body.get_input_embeddings()
    table = embeddings.weight.detach().float().cpu().numpy()
    offsets = np.cumsum([0, *map(len, pieces)])
    sums = np.add.reduceat(table[np.concatenate(pieces)], offsets[:-1], axis=0)
    return WordReplacement.nearest(words, sums / np.diff(offsets)[:, None], used, nearest, lower)


def _is_word(token: str) -> bool:
    return token.isalpha() and (len(token) > 1 or not token.isascii())


def augment_sentences(
    parts: TransformerTaggerParts | TransformerClassifierParts, sentences: Texts, distill: DistillSettings, seed: int
) -> Iterator[list[str]]:
    """`distill.augmented_copies` of each sentence, with other words in some places."""
    if not distill.augmented_copies:
        return
    substitution = fit_substitution(parts, sentences, distill.num_neighbors)
    for number in range(distill.augmented_copies):
        random = np.random.default_rng((seed, number, 3))
        yield from substitution.replace_words(
            sentences, distill.replacement_rate, distill.random_replacement_rate, random
        )


def with_scores(columns: RaggedColumns, taught: NDArray[np.float16], gold: NDArray[np.float32]) -> RaggedColumns:
    """Encoded sentences with the teacher's scores, and the share that gold has in each: a number a sentence."""
    shares = np.repeat(gold, columns.lengths)
    return RaggedColumns(columns.arrays | {"taught": taught, "gold": shares}, columns.offsets)
