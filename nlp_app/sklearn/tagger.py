"""Sequence labeling as an estimator."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from nlp_app import metrics
from nlp_app.config import TaggingSettings
from nlp_app.core.errors import SettingsError
from nlp_app.labels import schemes
from nlp_app.labels.tag_set import TagSet
from nlp_app.metrics.spans import selection_score
from nlp_app.sklearn.estimator import (
    RunEstimator,
    as_list,
    check_dev_pair,
    check_distinct,
    check_lengths,
    check_target,
    make_constructor,
    parameter_paths,
)

if TYPE_CHECKING:
    from nlp_app.inference import Tagger


_PLACES = parameter_paths(
    TaggingSettings,
    {"dev_share": "dev_share", "tokenizer": "tokenizer", "lower_case": "lower_case", "tag_scheme": "scheme"},
)


class SequenceTagger(RunEstimator):
    """Finds a tag for each token of a sentence, as `train ner` learns to: entities (BIO and other schemes) or POS.

    Parameters are those of [model] and [train] in `configs/ner_bilstm_crf.toml`, with the same defaults, and
    `dev_share`, `tokenizer` and `lower_case` of [data]; `tag_scheme` is its `scheme`, that of y: `auto` recognizes it.
    `random_state` (an int, a RandomState or None) is the seed; `verbose=1` shows the run.

    After `fit`: `classes_`, the tags that a token may have, sorted; `scheme_`, that of y, and of what `predict` gives;
    `model_`, an `nlp_app.inference.Tagger`; `scores_`, on dev.
    """

    __init__ = make_constructor(TaggingSettings, _PLACES)

    def fit(self, X: Any, y: Any, *, dev: Any = None) -> SequenceTagger:
        """Train on sentences X (n lists of tokens) with tags y (n lists, a tag a token).

        dev: (X, y) to choose the epoch by; without it, a `dev_share` of the sentences is held out.

        Raises TypeError and ValueError for what isn't tokens and tags, SettingsError for parameters out of range,
        DataError and TrainingError as `train ner` does.
        """
        from nlp_app.sklearn.training_run import train  # noqa: PLC0415

        y = check_target(y, self)
        files = {"X": _rows(X, y, "X", "y")}
        if dev is None:
            check_distinct(len({tuple(row["tokens"]) for row in files["X"] if row["tokens"]}))
        else:
            files["dev"] = _rows(*check_dev_pair(dev), "dev", "dev")
        model, self.scores_ = train(self._run_settings(TaggingSettings, _PLACES), files, quiet=not self.verbose)
        self.model_ = cast("Tagger", model)
        parts = self.model_.parts
        self.scheme_: str = parts.about["data"]["scheme"]
        self.classes_ = np.array(sorted(schemes.tag_names(parts.tag_set.labels, self.scheme_)))
        return self

    def predict(self, X: Any) -> list[list[str]]:
        """A list of tags for each sentence, in the scheme of the y that fit was given."""
        check_is_fitted(self)
        sentences = _lists(X, "X", "token")
        found = self.model_.token_spans(sentences)
        return [schemes.encode(spans, len(each), self.scheme_) for each, spans in zip(sentences, found, strict=True)]

    def predict_proba(self, X: Any) -> list[NDArray[Any]]:
        """(tokens, k) probabilities of each sentence's tags in the order of `classes_`: marginals, exact under the
        model. Raises SettingsError where y's tags can't be told from the model's without their neighbors."""
        check_is_fitted(self)
        from nlp_app.inference.tag_scores import tag_marginals  # noqa: PLC0415

        translation = _translation(self.model_.parts.tag_set, self.scheme_, self.classes_.tolist())
        return [chances @ translation for chances in tag_marginals(self.model_.parts, _lists(X, "X", "token"))]

    def score(self, X: Any, y: Any) -> float:
        """F1 of entities, exact in type and edges, as seqeval counts it; of tags without a scheme the accuracy."""
        check_is_fitted(self)
        sentences, gold = _pairs(X, y, "X", "y")
        plain = schemes.NONE if self.scheme_ == schemes.NONE else "BIO"
        score = metrics.label_scores if plain == schemes.NONE else metrics.entity_scores
        gold = [schemes.encode(schemes.decode(tags, self.scheme_)[0], len(tags), plain) for tags in gold]
        found = [
            schemes.encode(spans, len(tags), plain)
            for spans, tags in zip(self.model_.token_spans(sentences), gold, strict=True)
        ]
        return selection_score(score(gold, found))


def _translation(tag_set: TagSet, scheme: str, classes: Sequence[str]) -> NDArray[np.float64]:
    """(model's tags, classes) of 0 and 1: which of y's tags each of the model's tags is."""
    matrix = np.zeros((len(tag_set.tags), len(classes)))
    letters = {} if tag_set.scheme == scheme else _letters(tag_set.scheme, scheme)
    for row, tag in enumerate(tag_set.tags):
        letter, hyphen, label = tag.partition("-")
        written = f"{letters[letter]}{hyphen}{label}" if letter in letters else tag
        matrix[row, classes.index(written)] = 1
    return matrix


def _letters(model: str, wanted: str) -> dict[str, str]:
    """The letter of one scheme for each of another's. Raises SettingsError where there are several."""
    ours, theirs = schemes.find_scheme(model), schemes.find_scheme(wanted)
    if theirs.touching_first or theirs.touching_last:
        raise SettingsError(f"predict_proba: {wanted} tags depend on the tags beside them; give fit y in BIO")
    found: dict[str, str] = {}
    for first, last in itertools.product((False, True), repeat=2):
        letter = theirs.letter(first, last, False, False)
        if found.setdefault(ours.letter(first, last, False, False), letter) != letter:
            raise SettingsError(
                f"predict_proba: {wanted} tags can't be told from the model's {model} tags; set scheme='BIOES'"
            )
    return found


def _lists(values: Any, name: str, what: str) -> list[list[str]]:
    rows = as_list(values, name, f"a sequence of lists of {what}s")
    for place, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Sequence | np.ndarray):
            raise TypeError(f"{name}[{place}]: found {type(row).__name__}, expected a list of {what}s")
        for item in row:
            if not isinstance(item, str):
                raise TypeError(f"{name}[{place}]: found {type(item).__name__} as a {what}, expected a str")
    return [[str(item) for item in row] for row in rows]


def _pairs(X: Any, y: Any, name: str, target: str) -> tuple[list[list[str]], list[list[str]]]:
    sentences, tags = _lists(X, name, "token"), _lists(y, target, "tag")
    check_lengths(len(sentences), len(tags), name)
    for place, (one, two) in enumerate(zip(sentences, tags, strict=True)):
        if len(one) != len(two):
            raise ValueError(f"{target}[{place}]: found {len(two)} tags of {len(one)} tokens, expected as many")
    return sentences, tags


def _rows(X: Any, y: Any, name: str, target: str) -> list[dict[str, Any]]:
    sentences, tags = _pairs(X, y, name, target)
    return [{"tokens": one, "tags": two} for one, two in zip(sentences, tags, strict=True)]
