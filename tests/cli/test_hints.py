"""Hints that name the way out: settings for unknown options, bundled settings, other kinds of models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Outcome, refused

from nlp_app.config import TaggingSettings, read_settings
from nlp_app.core.paths import bundled_path

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
