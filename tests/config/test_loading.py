"""Settings: the committed file is the default, unknown and unfit ones fail with a hint, and TOML comes back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.config import (
    KINDS,
    RENAMED,
    ClassificationSettings,
    DistilledTaggingSettings,
    Settings,
    TaggingDataSettings,
    TaggingSettings,
    TaggingTrainSettings,
    TransformerClassificationSettings,
    TransformerTaggingSettings,
    change_settings,
    read_settings,
    read_task_settings,
    validate,
    write_settings,
)
from nlp_app.core.errors import SettingsError
from nlp_app.core.paths import bundled_path


def stated(path: Path) -> set[str]:
    return {line.split(" = ")[0] for line in path.read_text(encoding="utf-8").splitlines() if " = " in line}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ner_bilstm_crf", TaggingSettings),
        ("cls_combined", ClassificationSettings),
        ("ner_transformer", TransformerTaggingSettings),
        ("cls_transformer", TransformerClassificationSettings),
    ],
)
def test_the_committed_file_states_every_default(name: str, kind: type[Settings]) -> None:
    path = bundled_path(f"configs/{name}.toml")
    assert read_settings(kind, path) == kind()
    assert stated(path) == {key for _, table in kind() for key, _ in table}


@pytest.mark.parametrize(("name", "kind"), [("cls_embeddingbag", "embedding_bag"), ("cls_textcnn", "textcnn")])
def test_the_other_committed_files_are_of_their_kind(name: str, kind: str) -> None:
    settings = read_settings(ClassificationSettings, bundled_path(f"configs/{name}.toml"))
    assert settings.model.kind == kind
    assert (settings.data, settings.track) == (ClassificationSettings().data, ClassificationSettings().track)


@pytest.mark.parametrize(
    ("task", "changes", "kind"),
    [
        ("ner", [], TaggingSettings),
        ("ner", ["model.kind=transformer"], TransformerTaggingSettings),
        ("ner", ["model.kind=transformer", "model.kind='bilstm_crf'"], TaggingSettings),
        ("cls", ["model.kind=textcnn"], ClassificationSettings),
        ("cls", ["train.learning_rate=0.1", ' model.kind = "transformer"'], TransformerClassificationSettings),
    ],
)
def test_the_kind_of_model_decides_which_settings_there_are(task: str, changes: list[str], kind: type) -> None:
    assert type(read_task_settings(task, None, changes)) is kind
    path = bundled_path(f"configs/{task}_transformer.toml")
    of_file = TransformerTaggingSettings if task == "ner" else TransformerClassificationSettings
    assert type(read_task_settings(task, path)) is of_file


def test_an_unknown_kind_of_model_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'transformer'"):
        read_task_settings("ner", None, ["model.kind=transfromer"])
    with pytest.raises(SettingsError, match=r"bilstm_crf, transformer"):
        read_task_settings("ner", None, [], {"model": {"kind": 3}})


def test_changes_are_applied_in_order() -> None:
    settings = read_settings(
        TaggingSettings, None, ["train.epochs=3", "data.train=a b.txt", "train.epochs=5", "data.strict=true"]
    )
    assert (settings.train.epochs, settings.data.train, settings.data.strict) == (5, "a b.txt", True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epoch=3", "unknown setting `train.epoch`; did you mean `train.epochs`"),
        ("model.epochs=3", "did you mean `train.epochs`"),
        ("trian.epochs=3", "did you mean `train"),
        ("train.epochs=-1", "`train.epochs` is -1"),
        ("train.epochs=2.5", "`train.epochs` is 2.5"),
        ("train.epochs=many", "`train.epochs` is 'many'"),
        ("model.input_dropout=1.0", "`model.input_dropout` is 1.0"),
        ("train.optimizer=adamm", "'adamw'"),
        ("train.learning_rate=nan", "train.learning_rate"),
        ("train.learning_rate=inf", "train.learning_rate"),
        ("epochs=3", "expected table.key=value"),
        ("train.epochs", "expected table.key=value"),
    ],
)
def test_what_is_wrong_is_said(change: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        read_settings(TaggingSettings, None, [change])
    assert "\n" not in str(raised.value)


def test_an_old_name_names_its_successor(tmp_path: Path) -> None:
    kinds = [kind for kinds in KINDS.values() for kind in kinds.values()] + [DistilledTaggingSettings]
    for table, names in RENAMED.items():
        found = [type(getattr(kind(), table)).model_fields for kind in kinds if table in kind.model_fields]
        for old, new in names.items():
            assert not any(old in fields for fields in found), old
            assert any(new in fields for fields in found), new
    expected = r"unknown setting `train\.rate`, renamed to `train\.learning_rate`; use the new name"
    with pytest.raises(SettingsError, match=expected):
        read_settings(TaggingSettings, None, ["train.rate=0.1"])
    path = tmp_path / "old.toml"
    path.write_text('[train]\nrate = 0.1\n[model]\nwords = "1-2"\n', encoding="utf-8")
    with pytest.raises(SettingsError, match=expected):
        read_settings(ClassificationSettings, path)
    with pytest.raises(SettingsError, match=r"`model\.words`, renamed to `model\.word_ngrams`"):
        read_settings(ClassificationSettings, path)
    with pytest.raises(SettingsError) as caught:  # no setting of a tagger has followed it
        read_settings(TaggingSettings, None, ["model.filters=3"])
    assert "renamed" not in str(caught.value)


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(SettingsError, match=r"model\.hidden.*train\.epochs"):
        validate(TaggingSettings, {"train": {"epochs": -1}, "model": {"hidden_size": "wide"}}, "here")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    with pytest.raises(SettingsError, match="can't be read"):
        read_settings(TaggingSettings, bad)
    bad.write_text("[train\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="not TOML"):
        read_settings(TaggingSettings, bad)
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="UTF-8"):
        read_settings(TaggingSettings, bad)


def test_only_the_named_table_may_change() -> None:
    assert change_settings(TaggingSettings, {}, ["data.strict=true"], only="data").data.strict
    with pytest.raises(SettingsError, match=r"only settings of \[data\] can be changed"):
        change_settings(TaggingSettings, {}, ["train.epochs=3"], only="data")


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.floats(0, 0.99),
    st.integers(1, 10**6),
    st.booleans(),
)
def test_written_settings_come_back(path: str, share: float, epochs: int, strict: bool) -> None:
    settings = TaggingSettings(
        data=TaggingDataSettings(train=path, strict=strict),
        train=TaggingTrainSettings(epochs=epochs, warmup_ratio=share),
    )
    import tomllib

    assert validate(TaggingSettings, tomllib.loads(write_settings(settings)), "written") == settings
