"""Changes of a model's files, nearly valid ones: a value of JSON, a shape, a byte, a line."""

from __future__ import annotations

import ast
import json
import struct
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fuzz.choices import Choices
from fuzz.folder import file_of
from nlp_app.core.files import checksum
from nlp_app.models.directory import DESCRIPTION, own_checksum

Files = dict[str, bytes]

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, -1, 7, 63, 100, 1001, 10**5, 10**6, 10**9, 1 << 31, 1 << 40, 10**12, 1 << 63, 10**30,
    0.0, 0.5, 1.0, -0.5, 1e-9, 1e38, 1e308, "", "x", "O", "none", "BIO", "BIOES", "../x", "/etc/passwd", "\0", "\ud800",
    "ä" * 300, "B-PER", "S-PER", "basic", "char", "whitespace", "transformer", "bilstm_crf", "text_classifier", "cls",
    "ner", "bert", "gpt2", "llama", "roberta", "deberta-v2", "F32", "F64", "F16", "BF16", "I64", "U8", "BOOL",
    "F8_E4M3", "gelu", "torch.os.system", "eval", "1-9", "2,3,4", "9999999999", "999999999,1", [], {}, [1], [0, 1], [0],
    ["a", "a"], ["x"] * 3000, {"a": 1}, {"name": "basic"}, [10**9, 10**9], [1 << 40, 0], {"0": "O", "1": "B-PER"},
    [[[[[[[[]]]]]]]], {"type": "Fixed", "Fixed": 10**12}, {"Regex": "(a+)+$"}, {"String": ""},
)  # fmt: skip
NAMES = (
    "num_labels", "num_hidden_layers", "n_layers", "auto_map", "quantization_config", "architectures", "model_type",
    "id2label", "label2id", "problem_type", "pooler", "torch_dtype", "dtype", "attn_implementation", "vocab_size",
    "max_position_embeddings", "hidden_size", "type_vocab_size", "pad_token_id", "is_decoder", "add_cross_attention",
    "chunk_size_feed_forward", "layer_types", "tie_word_embeddings", "transformers_version", "tokenizer_class",
    "added_tokens_decoder", "extra_special_tokens", "chat_template", "special_tokens_map_file", "name_or_path",
    "truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model", "unk_token",
    "dropout", "continuing_subword_prefix", "max_input_chars_per_word", "vocab", "merges", "type", "added_tokens",
    "precompiled_charsmap", "pattern", "behavior", "format", "files", "checksum", "legal", "capitals", "lstm",
    "sub_configs", "text_config", "peft_config", "base_model_name_or_path", "rope_scaling", "rope_parameters",
)  # fmt: skip


def edited(files: Mapping[str, bytes], data: bytes) -> Files:
    """The files after up to four changes, mostly with checksums that fit again."""
    choices = Choices(data)
    signed = choices.number(16) != 15
    changed = dict(files)
    for _ in range(1 + choices.number(4)):
        if changed:
            name = choices.pick(sorted(changed))
            _change(changed, name, choices)
    if signed:
        sign(changed)
    return changed


def sign(files: Files) -> None:
    """Renew the checksums, as someone who changes a model on purpose would."""
    description = _json(files.get(DESCRIPTION))
    if not isinstance(description, dict):
        return
    if isinstance(description.get("files"), dict):
        for name in description["files"]:
            if name in files:
                description["files"][name] = checksum(file_of("signed", files[name]))
    try:
        description["checksum"] = own_checksum(description)
        files[DESCRIPTION] = json.dumps(description).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return


def _change(files: Files, name: str, choices: Choices) -> None:
    kind = choices.number(8)
    content = files[name]
    if kind == 0:
        place = choices.number(65536) % (len(content) + 1)
        new = choices.take(1 + choices.number(16))
        files[name] = content[:place] + new + content[place + len(new) * choices.number(2) :]
    elif kind == 1:
        files[name] = content[: choices.number(65536) % (len(content) + 1)]
    elif kind == 2 and choices.number(8) == 7:
        del files[name]
    elif name.endswith(".json"):
        files[name] = _json_changed(content, choices)
    elif name.endswith(".safetensors"):
        files[name] = _tensors_changed(content, choices)
    elif name.endswith(".npy"):
        files[name] = _array_changed(content, choices)
    else:
        lines = content.split(b"\n")
        lines[choices.number(65536) % len(lines)] = choices.take(choices.number(16))
        files[name] = b"\n".join(lines)


def _json(content: bytes | None) -> Any:
    try:
        return json.loads(content or b"")
    except (ValueError, RecursionError):
        return None


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in list(items)[:200] for place in _places(inner, (*path, key)))]


def _value(choices: Choices) -> Any:
    if choices.number(8):
        return choices.pick(VALUES)
    text = choices.take(choices.number(24))
    return _json(text) if _json(text) is not None else text.decode("utf-8", "replace")


def _json_changed(content: bytes, choices: Choices) -> bytes:
    value = _json(content)
    if value is None:
        return content
    kind, places = choices.number(4), [place for place in _places(value) if place]
    if not places:
        return json.dumps(_value(choices)).encode()
    place = places[choices.number(65536) % len(places)]
    inner = value
    for key in place[:-1]:
        inner = inner[key]
    if kind == 0 and isinstance(inner, dict):
        inner[choices.pick(NAMES)] = _value(choices)
    elif kind == 1:
        del inner[place[-1]]
    elif kind == 2 and isinstance(inner[place[-1]], int) and not isinstance(inner[place[-1]], bool):
        inner[place[-1]] += choices.number(256) - 128
    else:
        inner[place[-1]] = _value(choices)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def _tensors_changed(content: bytes, choices: Choices) -> bytes:
    """The header changed, or what one tensor holds."""
    size = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + size], content[8 + size :]
    if choices.number(2):
        header = _json_changed(header, choices)
        return len(header).to_bytes(8, "little") + header + data
    described = _json(header)
    names = sorted(described) if isinstance(described, dict) else []
    if names and isinstance(described[choices_name := choices.pick(names)], dict):
        offsets = described[choices_name].get("data_offsets")
        if isinstance(offsets, list) and len(offsets) == 2 and all(type(one) is int for one in offsets):
            start, end = (max(0, min(one, len(data))) for one in offsets)
            number = choices.pick((float("nan"), float("inf"), float("-inf"), 3e38, -3e38, 1e20, 0.0))
            filling = struct.pack("<f", number) * (max(end - start, 0) // 4)
            data = data[:start] + filling + data[start + len(filling) :]
    return content[: 8 + size] + data


def _array_changed(content: bytes, choices: Choices) -> bytes:
    """The header of a `.npy` changed: type, order, shape."""
    end = content.find(b"\n")
    try:
        header = ast.literal_eval(content[10:end].decode("latin-1").strip())
    except (ValueError, SyntaxError):
        return content
    key = choices.pick(("shape", "descr", "shape", "fortran_order", "more"))
    header[key] = choices.pick(_ARRAYS.get(key, VALUES))
    written = repr(header).encode("latin-1", "replace").ljust(117) + b"\n"
    return content[:8] + struct.pack("<H", len(written)) + written + content[end + 1 :]


_ARRAYS: Mapping[str, tuple[Any, ...]] = MappingProxyType({
    "shape": ((), (0,), (1,), (2, 2), (-1,), (10**9,), (1 << 33,), (1 << 40,), (1 << 62,), (1 << 31, 1 << 31), "x"),
    "descr": ("|O", "<i8", "<u8", ">u8", "<f8", "<i4", "|u1", "|b1", "<U9999999", "|V8", "<M8[s]", [("a", "<i8")], "x"),
})  # fmt: skip
