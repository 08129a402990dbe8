"""Hints that name the way out: settings for unknown options, bundled settings, other kinds of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, Small, refused

from nlp_app.config import ClassificationSettings, TaggingSettings, read_settings
from nlp_app.config.loading import write_settings
from nlp_app.core.errors import SettingsError
from nlp_app.core.paths import bundled_path
from nlp_app.labels import ClassSet
from nlp_app.training.classification.loss import _class_weights

Cli = Callable[..., Outcome]


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("train ner --epochs 3", "use --set train.epochs=3"),
        ("train cls --epochs=3", "use --set train.epochs=3"),
        ("train ner --lr 0.01", "use --set train.learning_rate=0.01"),
        ("train ner --dev-share 0.2", "use --set data.dev_share=0.2"),
        ("train ner --patience", "use --set train.patience=VALUE"),
        ("train ner --batch-size 8", "use --set train.batch_subwords=8 or --set train.batch_tokens=8"),
        ("train cls --model bert", "use --set model.pretrained=bert"),
        ("train ner --hidden-size 9", "use --set model.hidden_size=9"),
        ("tag runs/x --encoding gb18030", "use --set data.encoding=gb18030"),
        ("inspect a.conll --tag-column 2", "use --set data.tag_column=2"),
        ("tag runs/x --epochs 3", "see --help"),
        ("train ner --nonsense 3", "see --help"),
        ("reproduce runs/x --epochs 3", "see --help"),
    ],
)
def test_an_unknown_option_names_its_setting(cli: Cli, command: str, hint: str) -> None:
    refused(cli(*command.split()), "No such option", hint)


def test_bundled_settings_are_found_by_name(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    default = read_settings(TaggingSettings, Path("ner_bilstm_crf"))
    assert default == read_settings(TaggingSettings, bundled_path("configs/ner_bilstm_crf.toml"))
    Path("ner_bilstm_crf").write_text("[train]\nepochs = 3\n")
    assert read_settings(TaggingSettings, Path("ner_bilstm_crf")).train.epochs == 3
    refused(cli("train", "ner", "--config", "ner_transfomer"), "ner_transfomer: can't be read", "ner_transformer")


def test_config_prints_bundled_settings(cli: Cli) -> None:
    listed = cli("config")
    names = [line.split()[0] for line in listed.out.splitlines()]
    assert names == sorted(path.stem for path in bundled_path("configs").glob("*.toml"))
    assert all(len(line.split()) > 3 for line in listed.out.splitlines())
    for name in names:
        assert cli("config", name).out == bundled_path(f"configs/{name}.toml").read_text(encoding="utf-8")
    refused(cli("config", "ner_transfomer"), "found 'ner_transfomer'", "ner_transformer")


def test_a_setting_of_another_kind_names_the_kind(cli: Cli) -> None:
    refused(cli("train", "ner", "--set", "model.pretrained=x"), "model.pretrained", "--config ner_transformer")
    refused(cli("train", "cls", "--set", "model.kernel_sises=2"), "did you mean `model.kernel_sizes`?")


def test_evaluate_does_not_speak_of_training(cli: Cli, small: Small, small_classes: Small, tmp_path: Path) -> None:
    for model, file, expected in (
        (small.run, small_classes.test, "is a tagger, so give tokens with tags"),
        (small_classes.run, small.test, "is a classifier, so give texts with classes"),
    ):
        outcome = cli("evaluate", model, file)
        refused(outcome, file, expected)
        assert "`train" not in outcome.err


def test_a_label_for_nearly_every_text_is_questioned(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    rows = [f"text number {n},{'xy'[n % 2]}\n" for n in range(95)] + ["text number 1,x\n"] * 4
    path.write_text("".join(["text,label\n", *rows]))
    columns = ("--text-column", "label", "--label-column", "text", "--set", "data.dev_share=0")
    outcome = cli("train", "cls", "--train", path, "--output", tmp_path / "run", *columns)
    refused(outcome, "the label column 'text' has 95 different values in 99 texts. Is it the text")


def test_class_weights_of_any_label(tmp_path: Path) -> None:
    classes = ClassSet.of(["Food, drink", "a=b", "c"])
    expected = [2.0, 0.5, 1.0]
    path = tmp_path / "a.toml"
    path.write_text('[train.class_weights]\n"Food, drink" = 2.0\n"a=b" = 0.5\n')
    written = tmp_path / "b.toml"
    for settings in (
        read_settings(ClassificationSettings, path),
        read_settings(ClassificationSettings, None, ['train.class_weights={"Food, drink": 2, "a=b": 0.5}']),
    ):
        written.write_text(write_settings(settings))
        for each in (settings, read_settings(ClassificationSettings, written)):
            counts = dict.fromkeys(classes.labels, 3)
            assert _class_weights(each.train, classes, counts, 9) == expected
    wrong = {"{": "not JSON", '{"x": 2}': "'x'", '{"c": "2"}': "expected a number", "[1]": "expected"}
    for text, message in wrong.items():
        with pytest.raises(SettingsError, match=message):
            _class_weights(
                read_settings(ClassificationSettings, None, [f"train.class_weights={text}"]).train, classes, {}, 9
            )
