"""Loading pretrained models for fine-tuning, and messages for models that can't be used."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from huggingface_hub import constants
from tiny_transformers import HEADS, TINY, tiny_bert
from transformers import AutoModelForMaskedLM, BertTokenizer

import nlp_app
from nlp_app.core.errors import ModelError, SettingsError
from nlp_app.features.subwords.encoder import SubwordEncoder
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import write_model
from nlp_app.models.hub import is_hub_name
from nlp_app.models.transformers.models import TransformerTaggerParts
from nlp_app.models.transformers.pretrained import make_body, max_window_of_body, read_pretrained
from nlp_app.nn.partial_loading import PartialLoad
from nlp_app.nn.transformer import TransformerDimensions, TransformerTagger
from nlp_app.text import BasicTokenizer

TAGS = ["O", "B-LOC", "I-LOC"]


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(SettingsError) as caught:
        act()
    said = str(caught.value)
    assert said.startswith("model.pretrained: ")
    assert "\n" not in said
    return said


def body_of(directory: Path, kind: str, labels: list[str], **options: Any) -> tuple[Any, PartialLoad]:
    return make_body(read_pretrained(str(directory)), kind, labels, **options)


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("kind", ["base", "token", "sequence"])
def test_body_has_the_weights_of_the_checkpoint(tmp_path: Path, family: str, kind: str) -> None:
    directory = TINY[family](tmp_path, ["Rome"])
    body, load = body_of(directory, kind, TAGS)
    original = HEADS["base"].from_pretrained(directory).state_dict()
    prefix = "" if kind == "base" else f"{body.base_model_prefix}."
    state = body.state_dict()
    shared = {name for name in original if prefix + name in state}
    assert {prefix + name for name in shared} == {name for name in state if name in load.taken}
    assert all(torch.equal(state[prefix + name], original[name]) for name in shared)
    assert {name for name in original if name not in shared} == set(load.left)
    assert set(load.missing) == state.keys() - set(load.taken)
    assert all(torch.isfinite(value).all() for value in state.values())
    assert body.training
    if kind != "base":
        assert body.config.id2label == dict(enumerate(TAGS))
    assert all("pooler" in name for name in load.left)


def test_a_new_head_follows_from_the_seed(tmp_path: Path) -> None:
    directory, heads = tiny_bert(tmp_path), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        heads.append(body_of(directory, "token", TAGS)[0].classifier.weight)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


@pytest.mark.parametrize("family", TINY)
@pytest.mark.parametrize("head", ["token", "sequence"])
def test_head_for_the_same_labels_is_reordered(tmp_path: Path, family: str, head: str) -> None:
    directory = TINY[family](tmp_path, ["Rome"], head, ["I-LOC", "O", "B-LOC"])
    body, load = body_of(directory, head, TAGS)
    assert load.missing == ()
    inputs = torch.tensor([[2, 9, 11, 3]])
    with torch.inference_mode():
        ours = body.eval()(input_ids=inputs)[0]
        theirs = HEADS[head].from_pretrained(directory).eval()(input_ids=inputs)[0]
    torch.testing.assert_close(ours, theirs[..., [1, 2, 0]], rtol=0, atol=1e-6)


def test_a_head_of_other_labels_is_refused_with_the_difference(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path, head="token", labels=["O", "B-LOC", "B-PER"])
    said = refused(lambda: body_of(directory, "token", TAGS))
    assert "only in the model: B-PER; only in the data: I-LOC; set model.replace_head = true" in said
    body, load = body_of(directory, "token", TAGS, new_head=True)
    assert load.missing == load.left == ("classifier.bias", "classifier.weight")
    assert body.classifier.weight.shape == (3, 32)
    body, load = body_of(directory, "base", TAGS)
    assert load.left == ("classifier.bias", "classifier.weight")


def test_a_new_head_is_new_throughout(tmp_path: Path) -> None:
    """Not only the tensors with a row for each label."""
    directory = TINY["roberta"](tmp_path, head="sequence", labels=["A", "B", "C"])
    _, load = body_of(directory, "sequence", ["A", "B"], new_head=True)
    assert load.missing == tuple(
        sorted(f"classifier.{n}.{w}" for n in ("dense", "out_proj") for w in ("bias", "weight"))
    )


def test_a_language_model_gives_its_body(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path)
    config = HEADS["base"].from_pretrained(directory).config
    AutoModelForMaskedLM.from_config(config).save_pretrained(directory)
    _, load = body_of(directory, "sequence", ["A", "B"])
    assert load.missing == (
        "bert.pooler.dense.bias",
        "bert.pooler.dense.weight",
        "classifier.bias",
        "classifier.weight",
    )
    assert all(name.startswith("cls.") for name in load.left)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_half_precision_are_read_in_full(tmp_path: Path, dtype: torch.dtype) -> None:
    directory = tiny_bert(tmp_path)
    HEADS["base"].from_pretrained(directory).to(dtype).save_pretrained(directory)
    body, _ = body_of(directory, "token", TAGS)
    assert {value.dtype for value in body.parameters()} == {torch.float32}
    assert body.config.dtype == torch.float32


def test_weights_in_shards(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path)
    model = HEADS["base"].from_pretrained(directory)
    (directory / "model.safetensors").unlink()
    model.save_pretrained(directory, max_shard_size="20KB")
    assert not (directory / "model.safetensors").exists()
    body, load = body_of(directory, "base", TAGS)
    assert load.missing == ()
    assert torch.equal(body.embeddings.word_embeddings.weight, model.embeddings.word_embeddings.weight)


@pytest.mark.parametrize(("family", "positions"), [("bert", 40), ("roberta", 50), ("xlm-roberta", 50), ("bert", 600)])
def test_the_longest_window_fits_the_positions(tmp_path: Path, family: str, positions: int) -> None:
    pretrained = read_pretrained(str(TINY[family](tmp_path, positions=positions)))
    assert max_window_of_body(pretrained) == min(positions, 512)
    body, _ = make_body(pretrained, "token", TAGS)
    assert body(input_ids=torch.full((1, min(positions, 512)), 7))[0].shape[1] == min(positions, 512)


def test_relative_positions_have_no_limit(tmp_path: Path) -> None:
    from transformers import DebertaV2Config, DebertaV2Model

    tiny_bert(tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = DebertaV2Config(
        **sizes, vocab_size=500, relative_attention=True, position_biased_input=False, max_position_embeddings=16
    )
    DebertaV2Model(config).save_pretrained(tmp_path)
    assert max_window_of_body(read_pretrained(str(tmp_path))) == 512


def test_a_vocabulary_alone_makes_the_fast_tokenizer(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path, ["Rome"])
    words = sorted((vocab := BertTokenizer.from_pretrained(directory).get_vocab()), key=vocab.__getitem__)
    with_tokenizer = read_pretrained(str(directory))
    (directory / "tokenizer.json").unlink()
    (directory / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    (directory / "vocab.txt").write_text("\n".join(words) + "\n")
    alone = read_pretrained(str(directory))
    assert alone.tokenizer.size == len(words)
    assert [ids.tolist() for ids in alone.tokenizer.text_subwords(["Rome is Rom"])] == [
        ids.tolist() for ids in with_tokenizer.tokenizer.text_subwords(["Rome is Rom"])
    ]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("bert-base-cased", True), ("owner/name", True), ("a-b/c.d_e", True), ("./bert", False), ("/x/bert", False),
        ("~/bert", False), ("a/b/c", False), ("", False), ("..", False), ("../x", False), ("a/..", False),
        ("x y", False), ("模型/x", False), ("here/x", False), ("here", False), ("C:\\x", False),
    ],
)  # fmt: skip
def test_names_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_one: bool) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert is_hub_name(name) == is_one


def test_model_not_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for name in (str(tmp_path / "missing"), "./missing", "a/b/c"):
        assert f"{name}: no such directory" in refused(lambda name=name: read_pretrained(name))
    said = refused(lambda: read_pretrained("owner/name"))
    assert "owner/name: no such directory, and HF_HUB_OFFLINE is set and it isn't in the cache" in said
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(lambda: read_pretrained(str(tmp_path / "file")))


def test_the_cache_is_used_offline(tmp_path: Path) -> None:
    """A repository in the cache as the Hub's own program leaves it."""
    revision = "0123456789012345678901234567890123456789"
    cached = tmp_path / "hub" / "models--owner--tiny"
    tiny_bert(cached / "snapshots" / revision, ["Rome"])
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(revision)
    code = (
        "from nlp_app.models.transformers.pretrained import read_pretrained, make_body\n"
        "found = read_pretrained('owner/tiny')\n"
        "print(found.name, len(make_body(found, 'token', ['O', 'B'])[1].taken))"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["owner/tiny", "37"]


def write(directory: Path, name: str, content: Any) -> None:
    (directory / name).write_text(content if isinstance(content, str) else json.dumps(content))


def change_config(**changes: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        write(directory, "config.json", json.loads((directory / "config.json").read_text()) | changes)

    return change


def without(*names: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        for name in names:
            (directory / name).unlink()

    return change


def slow_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").unlink()
    write(directory, "tokenizer_config.json", {"tokenizer_class": "CanineTokenizer"})


def pickled(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def weights_without(name: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        weights = safetensors.torch.load_file(directory / "model.safetensors")
        del weights[name]
        safetensors.torch.save_file(weights, directory / "model.safetensors", {"format": "pt"})

    return change


def index_of(name: Any) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        shutil.copy(directory / "model.safetensors", directory.parent / "outside.safetensors")
        (directory / "model.safetensors").unlink()
        write(directory, "model.safetensors.index.json", {"weight_map": {"embeddings.word_embeddings.weight": name}})

    return change


def truncated(directory: Path) -> None:
    content = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(content[: len(content) // 2])


CODE = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
FAULTS: list[tuple[Callable[[Path], None], str]] = [
    (without("config.json"), "found no config.json"),
    (lambda directory: write(directory, "config.json", "{"), "config.json: not readable as JSON"),
    (lambda directory: write(directory, "config.json", []), "found list, expected a JSON object"),
    (change_config(model_type="bertt"), "unknown model type 'bertt'.*did you mean 'bert'"),
    (change_config(model_type=None), "unknown model type"),
    (change_config(hidden_size="wide"), "config.json: can't be read"),
    (change_config(model_type="own", auto_map=CODE), "is Python code that comes with the model.*trust_remote_code"),
    (change_config(quantization_config={"quant_method": "gptq"}), "quantized"),
    (without("tokenizer.json", "tokenizer_config.json"), "found no tokenizer files"),
    (without("tokenizer.json"), "found no tokenizer.json and no vocabulary"),
    (slow_tokenizer, "CanineTokenizer is a slow tokenizer"),
    (lambda directory: write(directory, "tokenizer.json", "{}"), "its tokenizer can't be read"),
    (without("model.safetensors"), "found no model.safetensors"),
    (pickled, "found pytorch_model.bin, a pickle.*convert it"),
    (truncated, "model.safetensors: damaged"),
    (index_of("../outside.safetensors"), "names '../outside.safetensors', expected .safetensors files next to it"),
    (index_of("/etc/passwd"), "names '/etc/passwd'"),
    (index_of("..\\outside.safetensors"), "expected .safetensors files next to it"),
    (index_of("pytorch_model.bin"), "names 'pytorch_model.bin'"),
    (index_of("model-00001-of-00001.safetensors"), "missing, named in model.safetensors.index.json"),
    (index_of(3), "found no weight_map of file names"),
    (weights_without("encoder.layer.1.output.dense.weight"), "no fitting weights for 1 of the 37 .*layer.1.output"),
    (change_config(hidden_size=16), "found no fitting weights"),
    (change_config(num_hidden_layers=4), "found no fitting weights for 32 of the 69"),
    (change_config(vocab_size=20), "the tokenizer has 193 subwords, the model's embeddings 20 rows"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=[said[:40] for _, said in FAULTS])
def test_unusable_models_give_one_line(tmp_path: Path, fault: Callable[[Path], None], said: str) -> None:
    directory = tiny_bert(tmp_path / "model")
    (directory / "evil.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\n")
    fault(directory)
    with pytest.raises(SettingsError, match=said) as caught:
        body_of(directory, "token", TAGS)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("model.pretrained: ")
    assert not (tmp_path / "was-run").exists()


def test_code_runs_only_if_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = tiny_bert(tmp_path / "model")
    (directory / "own.py").write_text(
        "from transformers import BertConfig, BertForTokenClassification, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
        "class OwnForTokenClassification(BertForTokenClassification):\n    config_class = OwnConfig\n"
    )
    code = {
        "AutoConfig": "own.OwnConfig",
        "AutoModel": "own.OwnModel",
        "AutoModelForTokenClassification": "own.OwnForTokenClassification",
    }
    change_config(model_type="own", auto_map=code)(directory)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    pretrained = read_pretrained(str(directory), trust_remote_code=True)
    body, load = make_body(pretrained, "token", TAGS)
    assert type(body).__name__ == "OwnForTokenClassification"
    assert load.missing == ("classifier.bias", "classifier.weight")
    # It goes with the model, and is not run there either unless it is trusted.
    tag_set = TagSet(("LOC",), "BIO")
    network = TransformerTagger(body, 3, torch.from_numpy(tag_set.allowed), TransformerDimensions())
    encoder = SubwordEncoder(pretrained.tokenizer, max_window_of_body(pretrained), 8)
    about: dict[str, Any] = {"data": {}, "settings": {}}
    parts = TransformerTaggerParts(network, encoder, tag_set, BasicTokenizer(), pretrained.files, about)
    write_model(parts, tmp_path / "ours")
    assert (tmp_path / "ours" / "own.py").read_bytes() == (directory / "own.py").read_bytes()
    with pytest.raises(ModelError, match="only if you trust it"):
        nlp_app.load(tmp_path / "ours")
    again = nlp_app.load(tmp_path / "ours", trust_remote_code=True)
    assert again.tag_tokens([["a", "b"]]) == nlp_app.Tagger(parts).tag_tokens([["a", "b"]])
    (tmp_path / "ours" / "nlp_app.json").unlink()  # and so it is as a model of transformers
    with pytest.raises(ModelError, match="only if you trust it"):
        nlp_app.load(tmp_path / "ours")
    assert nlp_app.load(tmp_path / "ours", trust_remote_code=True).labels == ("LOC",)


def test_a_configuration_names_no_code_for_attention(tmp_path: Path) -> None:
    directory = tiny_bert(tmp_path)
    change_config(attn_implementation="owner/kernel", _attn_implementation_internal="owner/kernel")(directory)
    body, _ = body_of(directory, "token", TAGS)
    assert body.config._attn_implementation in ("sdpa", "eager")
