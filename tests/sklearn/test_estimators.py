"""The estimators: scikit-learn's own checks, and comparison with `train cls` and `train ner`."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from seqeval.metrics import f1_score
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import column_or_1d
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import validate_data

import nlp_app
from nlp_app.config import ClassificationSettings, TaggingSettings, validate
from nlp_app.core.errors import DataError, NlpAppError, SettingsError
from nlp_app.labels.schemes import decode, encode
from nlp_app.sklearn import SequenceTagger, TextClassifier
from nlp_app.training import train_cls

QUICK: dict[str, Any] = {
    "epochs": 3,
    "hidden_size": 4,
    "max_ngrams": 2000,
    "word_ngrams": "1-1",
    "char_ngrams": "",
    "ngram_class_weighting": False,
}
QUICK_TAGGER: dict[str, Any] = {"epochs": 1, "word_dim": 4, "shape_dim": 2, "affix_dim": 4, "hidden_size": 4}

NOUNS = [
    *("cake", "soup", "tea", "bread", "stew", "jam", "pie", "rice"),
    *("lamp", "chair", "desk", "vase"),
    *("rug", "shelf", "sofa", "stool"),
]
TEXTS = [f"{word} {noun}" for noun in NOUNS for word in ("lovely", "awful", "warm")]
KINDS = [f"{'food' if place < 24 else 'room'}" for place in range(48)]
MOODS = [("good", "bad", "good")[place % 3] for place in range(48)]
BOTH = [[kind, mood] if mood == "bad" else [kind] for kind, mood in zip(KINDS, MOODS, strict=True)]

SENTENCES = [f"{name} {verb} {place}".split() for name in ("Ada", "Bo Ek", "Cy") for verb in ("left", "saw", "likes")
             for place in ("Rome", "New York", "Oslo")]  # fmt: skip
TAGS = [
    [tag for word in name.split() for tag in ["B-PER" if word != "Ek" else "I-PER"]] + ["O"]
    + ["B-LOC" if word != "York" else "I-LOC" for word in place.split()]
    for name in ("Ada", "Bo Ek", "Cy") for _ in range(3) for place in ("Rome", "New York", "Oslo")
]  # fmt: skip


def words_of(X: Any) -> list[str]:
    return [" ".join(f"f{column}v{round(2 * value)}" for column, value in enumerate(row)) for row in X.tolist()]


class NumberClassifier(TextClassifier):
    """TextClassifier for scikit-learn's checks: converts a row of numbers to a text with one word per column."""

    def _words(self, X, **how):
        return words_of(validate_data(self, X, **how))

    def fit(self, X, y, *, dev=None):
        return super().fit(self._words(X), y, dev=dev)

    def predict(self, X):
        return super().predict(self._words(X, reset=False))

    def predict_proba(self, X):
        return super().predict_proba(self._words(X, reset=False))

    def score(self, X, y, sample_weight=None):
        return super().score(X, y, sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


@parametrize_with_checks([NumberClassifier(**QUICK)])
def test_checks(estimator, check):
    check(estimator)


class NumberTagger(SequenceTagger):
    """SequenceTagger for scikit-learn's checks: converts a row to a sentence, with the target as tag of each token."""

    def _sentences(self, X, **how):
        return [text.split() for text in words_of(validate_data(self, X, **how))]

    def fit(self, X, y, *, dev=None):
        sentences = self._sentences(X)
        column = None if y is None else column_or_1d(np.asarray(y), warn=True)
        tags = (
            column if column is None else [[f"t{tag}"] * len(one) for tag, one in zip(column, sentences, strict=True)]
        )
        return super().fit(sentences, tags, dev=dev)

    def predict(self, X):
        return np.array([float(tags[0][1:]) for tags in super().predict(self._sentences(X, reset=False))])

    def predict_proba(self, X):
        return np.array([chances[0] for chances in super().predict_proba(self._sentences(X, reset=False))])

    def score(self, X, y):
        return float((self.predict(X) == y).mean())

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        return tags


@parametrize_with_checks([NumberTagger(**QUICK_TAGGER)])
def test_tagger_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [TextClassifier(), SequenceTagger()])
def test_checks_are_skipped_for_text_input(estimator):
    with pytest.warns(SkipTestWarning, match="requires input"):
        results = check_estimator(estimator)
    assert [(result["check_name"], result["status"]) for result in results] == [("check_estimator_cloneable", "passed")]


@pytest.mark.parametrize(
    ("estimator", "kind", "own"),
    [
        (TextClassifier, ClassificationSettings, {"dev_share", "tokenizer", "lower_case"}),
        (SequenceTagger, TaggingSettings, {"dev_share", "tokenizer", "lower_case", "tag_scheme"}),
    ],
)
def test_parameters_are_the_settings(estimator, kind, own):
    tables, parameters = kind().model_dump(), estimator().get_params()
    settings = {**tables["model"], **tables["train"]}
    assert len(settings) == len(tables["model"]) + len(tables["train"])
    for name in ("seed", "checkpoint_seconds"):
        del settings[name]
    expected = {name: "" if value == [] else value for name, value in settings.items()}  # no mutable defaults
    assert {name: parameters[name] for name in settings} == expected
    assert parameters.keys() - settings.keys() == own | {"random_state", "verbose"}


def test_unknown_parameters():
    with pytest.raises(TypeError, match=r"unknown parameter 'epoch'; did you mean 'epochs'\?"):
        TextClassifier(epoch=3)
    with pytest.raises(TypeError, match="'rate'; renamed to 'learning_rate'"):
        SequenceTagger(rate=0.1)
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        TextClassifier().set_params(epoch=3)
    with pytest.raises(SettingsError, match=r"TextClassifier: `train.epochs` is -1"):
        TextClassifier(epochs=-1).fit(TEXTS, KINDS)


def test_same_result_as_train_cls(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text(
        "".join(json.dumps({"text": text, "label": kind}) + "\n" for text, kind in zip(TEXTS, KINDS, strict=True))
    )
    tables = {
        "data": {"train": str(data)},
        "model": {name: value for name, value in QUICK.items() if name != "epochs"},
        "train": {"epochs": 3, "seed": 7},
    }
    metrics = train_cls(validate(ClassificationSettings, tables, "test"), tmp_path / "run", quiet=True)
    model = nlp_app.load(tmp_path / "run", backend="torch")
    fitted = TextClassifier(**QUICK, random_state=7).fit(TEXTS, KINDS)
    assert fitted.scores_ == metrics["dev"]
    assert fitted.predict(TEXTS).tolist() == [label.label for label in model.classify(TEXTS)]
    np.testing.assert_array_equal(fitted.predict_proba(TEXTS), model.probabilities(TEXTS))
    fitted.save(tmp_path / "saved")
    saved = nlp_app.load(tmp_path / "saved", backend="torch")
    np.testing.assert_array_equal(saved.probabilities(TEXTS), model.probabilities(TEXTS))


@pytest.mark.parametrize(
    "y",
    [
        KINDS,
        tuple(KINDS),
        np.array(KINDS),
        np.array(KINDS, dtype=object),
        np.array([kind == "food" for kind in KINDS]),
        [{"food": 10, "room": 9}[kind] for kind in KINDS],
        [place % 3 * 5 for place in range(48)],
    ],
    ids=["list", "tuple", "array", "objects", "bool", "9 before 10", "0 5 10"],
)
def test_labels_keep_their_type(y):
    fitted = TextClassifier(**QUICK).fit(np.array(TEXTS, dtype=object), y)
    expected = np.unique(np.asarray(y))
    assert fitted.classes_.dtype == expected.dtype
    assert fitted.classes_.tolist() == expected.tolist()
    found, chances = fitted.predict(TEXTS), fitted.predict_proba(TEXTS)
    assert found.dtype == expected.dtype
    assert chances.shape == (48, len(expected))
    np.testing.assert_allclose(chances.sum(1), 1, rtol=1e-5)
    assert (fitted.classes_[chances.argmax(1)] == found).all()
    assert fitted.score(TEXTS, y) == np.mean(found == np.asarray(y)) > 0.9


@pytest.mark.parametrize("wrap", [list, tuple, set, frozenset, np.array])
def test_several_labels(wrap):
    fitted = TextClassifier(**QUICK).fit(TEXTS, [wrap(labels) for labels in BOTH])
    assert fitted.classes_.tolist() == ["bad", "food", "room"]
    found = fitted.predict(TEXTS)
    assert all(isinstance(labels, tuple) and list(labels) == sorted(labels) for labels in found)
    right = [set(one) == set(two) for one, two in zip(found, BOTH, strict=True)]
    assert fitted.score(TEXTS, BOTH) == np.mean(right) > 0.7
    weights = np.arange(48)
    assert fitted.score(TEXTS, BOTH, sample_weight=weights) == pytest.approx((weights * right).sum() / weights.sum())
    chances = fitted.predict_proba(TEXTS)
    least = fitted.model_.parts.decision.thresholds
    assert [tuple(fitted.classes_[row >= least]) for row in chances] == found


@pytest.mark.parametrize("wrap", [np.asarray, scipy.sparse.csr_array, np.ndarray.tolist])
def test_indicator_matrix(wrap):
    names = ["bad", "food", "nothing", "room"]
    y = np.array([[name in labels for name in names] for labels in BOTH]).astype(int)
    fitted = TextClassifier(**QUICK).fit(TEXTS, wrap(y))
    assert fitted.classes_.tolist() == [0, 1, 2, 3]
    assert fitted.predict(TEXTS).shape == (48, 4)
    assert not fitted.predict(TEXTS)[:, 2].any()
    assert not fitted.predict_proba(TEXTS)[:, 2].any()
    listed = TextClassifier(**QUICK).fit(TEXTS, BOTH)
    expected = [[name in labels for name in names] for labels in listed.predict(TEXTS)]
    assert fitted.predict(TEXTS).tolist() == np.array(expected).astype(int).tolist()
    assert fitted.score(TEXTS, y) == listed.score(TEXTS, BOTH)


def test_given_dev_set():
    fitted = TextClassifier(**QUICK).fit(TEXTS, KINDS, dev=(TEXTS[:6] + TEXTS[-5:], KINDS[:6] + KINDS[-5:]))
    assert sum(figures["support"] for figures in fitted.scores_["per_label"].values()) == 11
    with pytest.raises(ValueError, match="dev: label 'sky' does not occur in y"):
        fitted.fit(TEXTS, KINDS, dev=(["blue"], ["sky"]))
    with pytest.raises(TypeError, match="dev: found a value of type str, expected a pair"):
        fitted.fit(TEXTS, KINDS, dev="dev.csv")


def test_searches_and_pipelines():
    pipeline = Pipeline([("lower", FunctionTransformer(lambda X: [text.lower() for text in X])),
                         ("cls", TextClassifier(**QUICK))])  # fmt: skip
    assert is_classifier(pipeline)
    assert cross_val_score(pipeline, TEXTS, MOODS, cv=2).min() > 0.6
    assert cross_val_score(pipeline, TEXTS, BOTH, cv=KFold(2, shuffle=True, random_state=0)).min() > 0.2
    search = GridSearchCV(pipeline, {"cls__hidden_size": np.array([0, 4]), "cls__loss": ["auto", "focal"]}, cv=2)
    assert search.fit(TEXTS, KINDS).best_estimator_.predict(TEXTS).shape == (48,)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*worker stopped:UserWarning")
def test_searches_in_processes():
    grid = {"hidden_size": [0, 4]}
    alone = GridSearchCV(TextClassifier(**QUICK), grid, cv=2, error_score="raise").fit(TEXTS, KINDS)
    both = GridSearchCV(TextClassifier(**QUICK), grid, cv=2, n_jobs=2, error_score="raise").fit(TEXTS, KINDS)
    assert both.cv_results_["mean_test_score"].tolist() == alone.cv_results_["mean_test_score"].tolist()


def test_pickled_and_cloned():
    fitted = TextClassifier(**QUICK).fit(TEXTS, BOTH)
    twin = pickle.loads(pickle.dumps(fitted))  # noqa: S301
    np.testing.assert_array_equal(twin.predict_proba(TEXTS), fitted.predict_proba(TEXTS))
    assert twin.predict(TEXTS) == fitted.predict(TEXTS)
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "classes_")


def test_pickles_do_not_contain_tagged_text():
    fitted = SequenceTagger(**QUICK_TAGGER).fit(SENTENCES, TAGS)
    before = len(pickle.dumps(fitted))
    fitted.predict([["Undisclosed", "name"]])
    content = pickle.dumps(fitted)
    assert b"Undisclosed" not in content
    assert len(content) == before
    twin = pickle.loads(content)  # noqa: S301
    assert [chances.tolist() for chances in twin.predict_proba(SENTENCES)] == [
        chances.tolist() for chances in fitted.predict_proba(SENTENCES)
    ]


def test_random_state():
    def chances(state: Any) -> list[list[float]]:
        return TextClassifier(**QUICK, random_state=state).fit(TEXTS, KINDS).predict_proba(TEXTS).tolist()

    assert chances(1) == chances(np.int64(1)) != chances(2)
    assert chances(np.random.RandomState(3)) == chances(np.random.RandomState(3))
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    chances(1)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    with pytest.raises(ValueError, match="cannot be used to seed"):
        chances("seven")


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (
            "one text",
            TypeError,
            "X: found a value of type str, expected a sequence of texts; put a single one in a list",
        ),
        (5, TypeError, "X: found a value of type int"),
        ({"a": 1}, TypeError, "X: found a value of type dict"),
        (iter(TEXTS), TypeError, "X: found a value of type list_iterator"),
        (np.zeros((48, 2)), ValueError, "X: found an array of 2 dimensions, expected a sequence of texts"),
        (scipy.sparse.csr_matrix((48, 2)), TypeError, "X: found a sparse matrix"),
        ([*TEXTS[:-1], None], TypeError, r"X\[47\]: found NoneType, expected a str"),
        ([1.5] * 48, TypeError, r"X\[0\]: found float, expected a str"),
        ([["a"]] * 48, TypeError, r"X\[0\]: found list, expected a str"),
        (TEXTS[:-1], ValueError, "X: found 47 texts and 48 targets, expected one target for each text"),
        ([], ValueError, r"X: found 0 sample\(s\)"),
        (["the same"] * 48, ValueError, "X: found only one sample, or only copies of one sample"),
        (["half \ud800", *TEXTS[1:]], DataError, "^X:1: found"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_wrong_texts(X, error, message):
    with pytest.raises(error, match=message):
        TextClassifier(**QUICK).fit(X, KINDS)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (None, "TextClassifier requires y to be passed, but the target y is None"),
        (["a"] * 48, r"y: found only one class \('a'\), expected at least two classes"),
        ([["a"]] * 48, r"y: found only one class \('a'\)"),
        ([["a", "b"]] * 48, "y: found the same labels for all texts"),
        ([[]] * 48, "y: found the same labels for all texts"),
        (np.arange(96).reshape(48, 2), "y: found a matrix with other values"),
        (list(range(48)), "y: found a different label for each of 48 texts"),
        (np.linspace(0, 1, 48), "Unknown label type: continuous"),
        ([float("nan"), *[1.0, 2.0] * 23, 1.0], "y contains NaN"),
        ([["a"], *KINDS[1:]], "y: found lists and single labels"),
        ([*KINDS[1:], "room "], "differ only in surrounding spaces"),
        ([*KINDS[1:], ""], "labels that are empty"),
        (5, "y should be a 1d array"),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:The number of unique classes is greater:UserWarning")
def test_wrong_classes(y, message):
    with pytest.raises(ValueError, match=message):
        TextClassifier(**QUICK).fit(TEXTS, y)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "score", "save"])
@pytest.mark.parametrize("estimator", [TextClassifier(), SequenceTagger()])
def test_before_fit(estimator, method, tmp_path):
    arguments = {"score": (TEXTS, KINDS), "save": (tmp_path / "model",)}.get(method, (TEXTS,))
    with pytest.raises(NotFittedError):
        getattr(estimator, method)(*arguments)


def test_no_sample_weight():
    with pytest.raises(TypeError, match="unexpected keyword argument 'sample_weight'"):
        TextClassifier(**QUICK).fit(TEXTS, KINDS, sample_weight=np.ones(48))


LEARNT: dict[str, Any] = {
    "epochs": 12,
    "word_dim": 8,
    "shape_dim": 4,
    "affix_dim": 8,
    "hidden_size": 8,
    "learning_rate": 0.02,
    "batch_tokens": 64,
}


@pytest.fixture(scope="module")
def tagger() -> SequenceTagger:
    return SequenceTagger(**LEARNT).fit(SENTENCES, TAGS)


def test_tagger(tagger, tmp_path):
    found = tagger.predict(SENTENCES)
    assert tagger.classes_.tolist() == ["B-LOC", "B-PER", "I-LOC", "I-PER", "O"]
    assert tagger.score(SENTENCES, TAGS) == pytest.approx(f1_score(TAGS, found))
    assert tagger.score(SENTENCES, TAGS) > 0.9
    assert tagger.predict([[], ["Ada"]]) == [[], tagger.predict([["Ada"]])[0]]
    tagger.save(tmp_path / "model")
    assert nlp_app.load(tmp_path / "model").tag_tokens(SENTENCES) == found


def test_tag_probabilities(tagger):
    chances = tagger.predict_proba([[], *SENTENCES])
    assert [each.shape for each in chances] == [(0, 5), *((len(tokens), 5) for tokens in SENTENCES)]
    assert all(np.allclose(each.sum(1), 1) for each in chances)
    # In a sentence of one token, the probability of B is that of the span.
    scored = [(tokens, spans) for tokens in [["Ada"], ["Rome"], ["Oslo"]]
              for spans in tagger.model_.scored_spans([tokens])]  # fmt: skip
    assert any(spans for _, spans in scored)
    for tokens, spans in scored:
        for (_, _, label), score in spans:
            column = tagger.classes_.tolist().index(f"B-{label}")
            assert tagger.predict_proba([tokens])[0][0, column] == pytest.approx(score)


def rewritten(scheme: str) -> list[list[str]]:
    return [encode(decode(tags, "BIO")[0], len(tags), scheme) for tags in TAGS]


@pytest.mark.parametrize("scheme", ["BIOES", "BMES", "IOE2", "IOB1", "BILOU"])
def test_tags_in_their_own_scheme(tagger, scheme):
    y = rewritten(scheme)
    other = SequenceTagger(**LEARNT, tag_scheme=scheme).fit(SENTENCES, y)
    assert other.scheme_ == scheme
    found = other.predict(SENTENCES)
    assert [decode(tags, scheme)[0] for tags in found] == [decode(tags, "BIO")[0] for tags in tagger.predict(SENTENCES)]
    assert other.score(SENTENCES, y) == tagger.score(SENTENCES, TAGS)
    assert {tag for tags in y for tag in tags} <= set(other.classes_)
    if scheme == "IOB1":
        with pytest.raises(SettingsError, match="predict_proba: IOB1 tags depend on the neighboring tags"):
            other.predict_proba(SENTENCES)
    else:
        outside = [each[:, tagger.classes_.tolist().index("O")] for each in tagger.predict_proba(SENTENCES)]
        again = [each[:, other.classes_.tolist().index("O")] for each in other.predict_proba(SENTENCES)]
        np.testing.assert_allclose(np.concatenate(again), np.concatenate(outside))


def test_tags_that_follow_from_their_neighbors():
    fitted = SequenceTagger(**QUICK_TAGGER, scheme="BIO").fit(SENTENCES, rewritten("BIOES"))
    with pytest.raises(SettingsError, match="BIOES tags do not follow from the model's BIO tags; set scheme='BIOES'"):
        fitted.predict_proba(SENTENCES)


def test_tags_without_a_scheme():
    y = [["NOUN" if tag != "O" else "VERB" for tag in tags] for tags in TAGS]
    fitted = SequenceTagger(**LEARNT).fit(SENTENCES, y)
    assert fitted.classes_.tolist() == ["NOUN", "VERB"]
    found = fitted.predict(SENTENCES)
    right = [one == two for a, b in zip(found, y, strict=True) for one, two in zip(a, b, strict=True)]
    assert fitted.score(SENTENCES, y) == pytest.approx(np.mean(right))
    assert np.mean(right) > 0.9
    assert [[str(fitted.classes_[row.argmax()]) for row in each] for each in fitted.predict_proba(SENTENCES)] == found


def test_tagger_in_a_search():
    search = GridSearchCV(SequenceTagger(**QUICK_TAGGER), {"num_layers": [1, 2]}, cv=2, error_score="raise")
    assert len(search.fit(SENTENCES, TAGS).predict(SENTENCES)) == len(SENTENCES)


@pytest.mark.parametrize(
    ("X", "y", "error", "message"),
    [
        ("Ada left", TAGS, TypeError, "X: found a value of type str, expected a sequence of lists of tokens"),
        (["Ada left"], [["O", "O"]], TypeError, r"X\[0\]: found str, expected a list of tokens"),
        ([["Ada", None]], [["O", "O"]], TypeError, r"X\[0\]: found NoneType as a token, expected a str"),
        ([["Ada", "left"]], [[0, 1]], TypeError, r"y\[0\]: found int as a tag, expected a str"),
        ([["Ada", "left"]], [["O"]], ValueError, r"y\[0\]: found 1 tags for 2 tokens, expected one tag for each token"),
        (SENTENCES[1:], TAGS, ValueError, "X: found 26 texts and 27 targets"),
        (SENTENCES, None, ValueError, "requires y to be passed"),
        (SENTENCES, [["O"] * len(tags) for tags in TAGS], DataError, "^X: found no labeled span"),
        ([["Ada", ""], *SENTENCES[1:]], [["O", "O"], *TAGS[1:]], NlpAppError, "^X:1: `tokens`: expected non-empty str"),
    ],
    ids=str,
)
def test_wrong_sentences(X, y, error, message):
    with pytest.raises(error, match=message):
        SequenceTagger(**QUICK_TAGGER).fit(X, y)


def test_importing_does_not_import_torch():
    code = "import sys, nlp_app.sklearn as s; s.TextClassifier(epochs=2).get_params(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
def test_without_a_dev_set_there_are_no_scores():
    for estimator, X, y in (
        (TextClassifier(**QUICK, dev_share=0.0), TEXTS, KINDS),
        (SequenceTagger(**QUICK_TAGGER, dev_share=0.0), SENTENCES, TAGS),
    ):
        fitted = estimator.fit(X, y)
        assert fitted.scores_ == {}
        assert len(fitted.predict(X[:2])) == 2
