"""Datasets of Ray Data on a real local cluster, against the tagger and the classifier themselves."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import Small
from small_classifiers import classifier_parts

from nlp_app.core.errors import DataError, ModelError, SettingsError
from nlp_app.inference import Classifier, Tagger
from nlp_app.models import write_model

TEXTS = ["Anna lives in Rome", None, "", "张伟在北京工作 😀", "Google hired Anna", None, "e\u0301cole in Paris"] * 3

# Ray is imported by those who use it: it takes seconds. Its modules warn of settings of their own.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray is an extra"),
    pytest.mark.filterwarnings(r"ignore::DeprecationWarning:ray\."),
]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Two CPUs of Ray, which are gone afterwards; nothing is sent anywhere."""
    changes = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_AUTH_MODE": "disabled",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changes.items():
            patch.setenv(name, value)
        import ray
        import ray.data

        ray.init(
            address="local",
            num_cpus=2,
            num_gpus=0,
            include_dashboard=False,
            object_store_memory=100 << 20,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": str(Path(__file__).parents[2])}},
        )
        ray.data.DataContext.get_current().enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        try:
            yield ray
        finally:
            ray.shutdown()


def dataset_of(cluster: Any, texts: list[str | None], **columns: list[Any]) -> Any:
    """In two blocks, one for each actor."""
    table = pa.table({"number": list(range(len(texts))), "text": pa.array(texts, pa.string()), **columns})
    half = len(texts) // 2
    return cluster.data.from_arrow([table[:half], table[half:]])


def rows_of(dataset: Any) -> list[dict[str, Any]]:
    """In the order of their numbers."""
    return sorted(dataset.take_all(), key=lambda row: int(row["number"]))


def split(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[float]]:
    """Structs without their scores, and the scores, which differ in the last digits from batch to batch."""
    return [{name: value for name, value in one.items() if name != "score"} for one in found], [
        one["score"] for one in found
    ]


def test_a_dataset_is_tagged_by_two_actors(cluster: Any, small: Small, tagger: Tagger) -> None:
    from nlp_app.integrations.ray import tag_dataset

    dataset = tag_dataset(dataset_of(cluster, TEXTS), small.run, batch_size=4, concurrency=2)
    rows = rows_of(dataset)
    assert [row["text"] for row in rows] == TEXTS
    assert any(row["spans"] for row in rows)
    for row in rows:
        if row["text"] is None:
            assert row["spans"] is None
            continue
        found, scores = split(row["spans"])
        expected, expected_scores = split([asdict(span) for span in tagger.tag(row["text"])])
        assert found == expected
        assert scores == pytest.approx(expected_scores, abs=1e-5)
    types = dict(zip(dataset.schema().names, dataset.schema().types, strict=True))
    assert types["spans"] == pa.list_(
        pa.struct(
            {"start": pa.int64(), "end": pa.int64(), "label": pa.string(), "text": pa.string(), "score": pa.float64()}
        )
    )


def test_a_dataset_is_classified(cluster: Any, tmp_path: Path) -> None:
    from nlp_app.integrations.ray import classify_dataset

    parts = classifier_parts()
    write_model(parts, tmp_path / "model")
    rows = rows_of(classify_dataset(dataset_of(cluster, TEXTS), tmp_path / "model"))
    classifier = Classifier(parts)
    for row in rows:
        if row["text"] is None:
            assert row["label"] is row["score"] is None
        else:
            best = classifier.classify(row["text"], top_k=1)[0]
            assert (row["label"], row["score"]) == (best.label, pytest.approx(best.score, abs=1e-5))


def test_several_labels_a_text(tmp_path: Path) -> None:
    """What an actor does, without a cluster."""
    from nlp_app.integrations import ray as module

    parts = classifier_parts(multi_label=True)
    write_model(parts, tmp_path / "model")
    batch = pa.table({"text": pa.array(TEXTS, pa.large_string())})
    for choice in ({}, {"top_k": 2}, {"threshold": 0.5}):
        actor = module._ClassificationActor(str(tmp_path / "model"), "text", choice, 1, False)
        found = actor(batch)["labels"].to_pylist()
        expected = [None if text is None else Classifier(parts).classify(text, **choice) for text in TEXTS]
        assert [None if row is None else [one["label"] for one in row] for row in found] == [
            None if row is None else [label.label for label in row] for row in expected
        ]


def test_what_is_wrong_is_said_before_anything_is_computed(cluster: Any, small: Small) -> None:
    from nlp_app.integrations.ray import tag_dataset

    dataset = dataset_of(cluster, ["a", "b"], spans=[1, 2])
    with pytest.raises(DataError, match=r"found the columns number, text, spans, expected 'tetx'.*'text'"):
        tag_dataset(dataset, small.run, column="tetx")
    with pytest.raises(DataError, match="found int64 in the column 'number', expected strings"):
        tag_dataset(dataset, small.run, column="number")
    with pytest.raises(DataError, match=r"found a column 'spans'.*rename_columns"):
        tag_dataset(dataset, small.run)
    with pytest.raises(SettingsError, match="batch_format: found among the options"):
        tag_dataset(dataset_of(cluster, ["a", "b"]), small.run, batch_format="pandas")


def test_a_choice_or_model_that_is_wrong_is_told_before_anything_is_computed(
    cluster: Any, small: Small, tmp_path: Path
) -> None:
    from nlp_app.integrations.ray import classify_dataset, tag_dataset

    single, several = tmp_path / "single", tmp_path / "several"
    write_model(classifier_parts(), single)
    write_model(classifier_parts(multi_label=True), several)
    dataset = dataset_of(cluster, ["a", "b"])
    for choice, said in (({"topk": 3}, "choice: found 'topk', expected top_k or threshold; did you mean 'top_k'"),
                         ({"top_k": 0}, "top_k: found 0, expected 1 or more")):  # fmt: skip
        with pytest.raises(SettingsError, match=said):
            classify_dataset(dataset, single, choice=choice)
    with pytest.raises(ModelError, match="found a classifier, expected a tagger; use classify_dataset"):
        tag_dataset(dataset, single)
    with pytest.raises(ModelError, match="found a tagger, expected a classifier; use tag_dataset"):
        classify_dataset(dataset, small.run)
    for model, name in ((single, "score"), (several, "labels")):
        with pytest.raises(DataError, match=f"found a column '{name}'"):
            classify_dataset(dataset_of(cluster, ["a", "b"], **{name: [1, 2]}), model)
    for concurrency in (0, (0, 2), (3, 1), (1, 2, 3)):
        with pytest.raises(SettingsError, match=r"concurrency: found .*, expected the number of actors, from 1"):
            tag_dataset(dataset, small.run, concurrency=concurrency)  # type: ignore[arg-type]


def test_a_model_of_the_other_task(small: Small) -> None:
    from nlp_app.integrations import ray as module

    with pytest.raises(ModelError, match="found a Tagger, expected a Classifier"):
        module._ClassificationActor(str(small.run), "text", {}, 1, False)


def test_without_ray_the_extra_is_named() -> None:
    script = (
        "import sys\n"
        "sys.modules['ray'] = None\n"
        "import nlp_app.integrations\n"
        "from nlp_app.core.errors import SettingsError\n"
        "try: import nlp_app.integrations.ray\n"
        "except SettingsError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "nlp_app.integrations.ray: needs Ray Data; pip install 'nlp-app[ray]'\n"


def test_the_package_is_imported_without_ray() -> None:
    script = "import sys, nlp_app, nlp_app.integrations; print({'ray', 'pyarrow', 'torch'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
