"""A sequence tagger as a scikit-learn estimator."""

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


_PATHS = parameter_paths(
    TaggingSettings,
    {"dev_share": "dev_share", "tokenizer": "tokenizer", "lower_case": "lower_case", "tag_scheme": "scheme"},
)


class SequenceTagger(RunEstimator):
    """A sequence tagger with the scikit-learn interface.

    Predicts a tag for each token of a sentence: named entities in BIO or another tag scheme, or tags without a scheme,
    such as parts of speech. Trains like the command `train ner`.

    All parameters are keyword arguments. Except for `random_state` and `verbose`, they are the settings of
    `configs/ner_bilstm_crf.toml`, with the same names (except for `tag_scheme`) and defaults; `get_params()` lists
    them.

    Args:
        tag_scheme: Tag scheme of y, the setting `scheme` in `[data]`; `auto` detects it. Not the same as `scheme`, the
            scheme that the network uses internally.
        dev_share: Share of the sentences to hold out as a dev set in `fit`, unless `fit` gets a dev set.
        tokenizer: Tokenizer of `model_` for raw text: `basic`, `char` or `whitespace`; `auto` is the one that best
            reproduces the tokens of X.
        lower_case: Lower-case the normal forms of words and strip their accents; the original forms are used, too.
        random_state: Random seed: an int, a RandomState, or None for a different seed in each fit.
        verbose: 1 shows the progress of training, 0 nothing.
        epochs, learning_rate, hidden_size, ...: All settings in `[model]` and `[train]`, except for `seed` and
            `checkpoint_seconds`.

    Attributes:
        classes_: Sorted tags that a token may have, (n_tags,).
        scheme_: Tag scheme of y and of the predicted tags.
        model_: The trained model, an `nlp_app.inference.Tagger`.
        scores_: Scores of the model on the dev set, as in metrics.json.

    Example:
        >>> from nlp_app.sklearn import SequenceTagger
        >>> names, places = ["Ada", "Bob", "Cy"], ["Rome", "Oslo", "Bonn"]
        >>> sentences = [[name, "likes", place] for name in names for place in places]
        >>> tags = [["B-PER", "O", "B-LOC"]] * 9
        >>> tagger = SequenceTagger(epochs=20, random_state=1).fit(sentences, tags, dev=(sentences, tags))
        >>> tagger.predict([["Ada", "likes", "Oslo"]])
        [['B-PER', 'O', 'B-LOC']]
        >>> tagger.classes_
        array(['B-LOC', 'B-PER', 'I-LOC', 'I-PER', 'O'], dtype='<U5')
        >>> tagger.save("my_model")  # for `nlp_app.load` and the command line
    """

    __init__ = make_constructor(TaggingSettings, _PATHS)

    def fit(self, X: Any, y: Any, *, dev: Any = None) -> SequenceTagger:
        """Train the tagger.

        Args:
            X: Sentences, a sequence of n lists of tokens.
            y: Tags, a sequence of n lists with one tag for each token.
            dev: A dev set (X, y), used to select the best epoch. Without it, the share `dev_share` of the sentences is
                held out.

        Returns:
            The fitted estimator.

        Raises:
            TypeError: X or y is not a sequence of lists of strings, or `dev` is not a pair.
            ValueError: The numbers of sentences, or of tokens and tags in a sentence, differ.
            SettingsError: A parameter is invalid.
            DataError: The sentences can't be used for training.
            TrainingError: Training failed.

        Example:
            >>> SequenceTagger(epochs=10).fit([["Ada", "left", "Rome"], ...], [["B-PER", "O", "B-LOC"], ...])
        """
        from nlp_app.sklearn.training_run import train  # noqa: PLC0415

        y = check_target(y, self)
        files = {"X": _rows(X, y, "X", "y")}
        if dev is None:
            check_distinct(len({tuple(row["tokens"]) for row in files["X"] if row["tokens"]}))
        else:
            files["dev"] = _rows(*check_dev_pair(dev), "dev", "dev")
        model, self.scores_ = train(self._run_settings(TaggingSettings, _PATHS), files, quiet=not self.verbose)
        self.model_ = cast("Tagger", model)
        parts = self.model_.parts
        self.scheme_: str = parts.about["data"]["scheme"]
        self.classes_ = np.array(sorted(schemes.tag_names(parts.tag_set.labels, self.scheme_)))
        return self

    def predict(self, X: Any) -> list[list[str]]:
        """Predict the tags of sentences.

        Args:
            X: Sentences, a sequence of n lists of tokens.

        Returns:
            A list of tags for each sentence, in the tag scheme of `fit`'s y.

        Raises:
            NotFittedError: The estimator is not fitted.
            TypeError: X is not a sequence of lists of strings.

        Example:
            >>> tagger.predict([["Ada", "likes", "Oslo"]])
            [['B-PER', 'O', 'B-LOC']]
        """
        check_is_fitted(self)
        sentences = _string_lists(X, "X", "token")
        predicted = self.model_.token_spans(sentences)
        return [
            schemes.encode(spans, len(tokens), self.scheme_) for tokens, spans in zip(sentences, predicted, strict=True)
        ]

    def predict_proba(self, X: Any) -> list[NDArray[Any]]:
        """Predict the probability of each tag for each token: the exact marginals of the model.

        Args:
            X: Sentences, a sequence of n lists of tokens.

        Returns:
            An array for each sentence, (n_tokens, n_tags), with columns in the order of `classes_`.

        Raises:
            NotFittedError: The estimator is not fitted.
            TypeError: X is not a sequence of lists of strings.
            SettingsError: The tags of y do not follow from the model's tag of the same token alone. This depends on
                their tag schemes.

        Example:
            >>> tagger.predict_proba([["Ada", "likes", "Oslo"]])[0].shape
            (3, 5)
        """
        check_is_fitted(self)
        from nlp_app.inference.tag_scores import tag_marginals  # noqa: PLC0415

        translation = _translation(self.model_.parts.tag_set, self.scheme_, self.classes_.tolist())
        sentences = _string_lists(X, "X", "token")
        return [marginals @ translation for marginals in tag_marginals(self.model_.parts, sentences)]

    def score(self, X: Any, y: Any) -> float:
        """Compute the entity F1, as in seqeval, or the token accuracy for tags without a scheme.

        An entity counts as correct if its label and both boundaries are correct.

        Args:
            X: Sentences, a sequence of n lists of tokens.
            y: Gold tags, a sequence of n lists with one tag for each token, in the tag scheme of `fit`'s y.

        Returns:
            The score, from 0 to 1.

        Raises:
            NotFittedError: The estimator is not fitted.
            TypeError: X or y is not a sequence of lists of strings.
            ValueError: The numbers of sentences, or of tokens and tags in a sentence, differ.
        """
        check_is_fitted(self)
        sentences, gold = _pairs(X, y, "X", "y")
        common = schemes.NONE if self.scheme_ == schemes.NONE else "BIO"
        score = metrics.label_scores if common == schemes.NONE else metrics.entity_scores
        gold = [schemes.encode(schemes.decode(tags, self.scheme_)[0], len(tags), common) for tags in gold]
        predicted = [
            schemes.encode(spans, len(tags), common)
            for spans, tags in zip(self.model_.token_spans(sentences), gold, strict=True)
        ]
        return selection_score(score(gold, predicted))


def _translation(tag_set: TagSet, scheme: str, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return a matrix of 0 and 1, (model's tags, y's tags), that maps the model's tags to the tags of y."""
    matrix = np.zeros((len(tag_set.tags), len(classes)))
    letters = {} if tag_set.scheme == scheme else _map_letters(tag_set.scheme, scheme)
    for row, tag in enumerate(tag_set.tags):
        letter, hyphen, label = tag.partition("-")
        translated = f"{letters[letter]}{hyphen}{label}" if letter in letters else tag
        matrix[row, classes.index(translated)] = 1
    return matrix


def _map_letters(model: str, target: str) -> dict[str, str]:
    """Map the letters of the model's scheme to those letters of the target scheme that stand for the same position."""
    model_scheme, target_scheme = schemes.find_scheme(model), schemes.find_scheme(target)
    if target_scheme.touching_first or target_scheme.touching_last:
        raise SettingsError(f"predict_proba: {target} tags depend on the neighboring tags; fit with y in BIO")
    letters: dict[str, str] = {}
    for first, last in itertools.product((False, True), repeat=2):
        letter = target_scheme.letter(first, last, False, False)
        if letters.setdefault(model_scheme.letter(first, last, False, False), letter) != letter:
            raise SettingsError(
                f"predict_proba: {target} tags do not follow from the model's {model} tags; set scheme='BIOES'"
            )
    return letters


def _string_lists(values: Any, name: str, item_name: str) -> list[list[str]]:
    rows = as_list(values, name, f"a sequence of lists of {item_name}s")
    for index, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Sequence | np.ndarray):
            raise TypeError(f"{name}[{index}]: found {type(row).__name__}, expected a list of {item_name}s")
        for item in row:
            if not isinstance(item, str):
                raise TypeError(f"{name}[{index}]: found {type(item).__name__} as a {item_name}, expected a str")
    return [[str(item) for item in row] for row in rows]


def _pairs(X: Any, y: Any, name: str, target: str) -> tuple[list[list[str]], list[list[str]]]:
    sentences, tags = _string_lists(X, name, "token"), _string_lists(y, target, "tag")
    check_lengths(len(sentences), len(tags), name)
    for index, (tokens, its_tags) in enumerate(zip(sentences, tags, strict=True)):
        if len(tokens) != len(its_tags):
            counts = f"{len(its_tags)} tags for {len(tokens)} tokens"
            raise ValueError(f"{target}[{index}]: found {counts}, expected one tag for each token")
    return sentences, tags


def _rows(X: Any, y: Any, name: str, target: str) -> list[dict[str, Any]]:
    sentences, tags = _pairs(X, y, name, target)
    return [{"tokens": tokens, "tags": its_tags} for tokens, its_tags in zip(sentences, tags, strict=True)]
