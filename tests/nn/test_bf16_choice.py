"""The choice of bfloat16 by what is fast; no processor's own speed is presupposed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from nlp_app.nn.precision import compute_type, has_fast_bf16, is_bf16_faster

CPU = torch.device("cpu")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory."""
    monkeypatch.setenv("NLP_APP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def processor(patch: pytest.MonkeyPatch, **flags: bool | str) -> None:
    """Let torch report these flags of the processor."""
    patch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": "x", **flags})


@pytest.mark.parametrize("flags", [{}, {"avx512_f": True, "avx512_bf16": False, "amx_bf16": False}])
def test_without_bf16_instructions_nothing_is_measured(
    flags: dict[str, bool], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, **flags)
    assert compute_type("auto", CPU) is None
    assert not cache.exists()


def test_with_amx_nothing_is_measured(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, amx_bf16=True, avx512_bf16=True)
    assert compute_type("auto", CPU) is torch.bfloat16
    assert not cache.exists()


@pytest.mark.parametrize("flag", ["avx512_bf16", "bf16"])
def test_without_amx_it_is_measured_once_a_processor(flag: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, **{flag: True})
    found = has_fast_bf16(CPU)
    (file,) = cache.iterdir()
    assert json.loads(file.read_text(encoding="utf-8")) is found
    # What is cached decides from then on, unless it is damaged.
    for cached in (not found, found):
        file.write_text(json.dumps(cached), encoding="utf-8")
        assert has_fast_bf16(CPU) is cached
        assert compute_type("auto", CPU) is (torch.bfloat16 if cached else None)
    for damaged in ("", "{", "[]", "1", "\x00"):
        file.write_text(damaged, encoding="utf-8")
        assert isinstance(has_fast_bf16(CPU), bool)
        assert isinstance(json.loads(file.read_text(encoding="utf-8")), bool)
    processor(monkeypatch, **{flag: True, "cpu_name": "y"})
    has_fast_bf16(CPU)
    monkeypatch.setattr(torch, "__version__", "99.0")
    has_fast_bf16(CPU)
    assert len(list(cache.iterdir())) == 3


def test_a_cache_that_cannot_be_used_is_done_without(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    processor(monkeypatch, avx512_bf16=True)
    cache.write_text("a file", encoding="utf-8")
    assert isinstance(has_fast_bf16(CPU), bool)
    assert capfd.readouterr() == ("", "")


def test_measuring_leaves_threads_and_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(3)
    assert isinstance(is_bf16_faster(), bool)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(("name", "kind"), [("full", None), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_a_named_type_is_taken_as_it_is(
    name: str, kind: torch.dtype | None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, avx512_bf16=True)
    assert compute_type(name, CPU) is kind
    assert not cache.exists()
