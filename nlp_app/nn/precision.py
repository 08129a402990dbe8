"""The numbers to compute in: single precision, or bfloat16 where a device is faster in it."""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from functools import cache
from hashlib import blake2b

import torch
from torch.nn import functional

from nlp_app.core.errors import DataError, TrainingError, is_unsupported
from nlp_app.core.files import atomic_file
from nlp_app.core.paths import cache_directory

PRECISIONS = ("full", "auto", "bf16", "fp16")

_MEASURED = ("avx512_bf16", "bf16")  # flags of processors of which some are slower in bfloat16

_ROWS, _WIDTH = 256, 768  # pieces of a batch, units of a layer

_REPEATS = 5


def has_fast_bf16(device: torch.device) -> bool:
    """Check if a device computes in bfloat16 in less time than in single precision.

    A CPU with AMX does, one without any bfloat16 instructions does not. With `avx512_bf16` alone it depends: a
    transformer takes a third of the time on an AMD Zen 5 and 1.5 times on an Intel Xeon, so it is measured, once for a
    processor and version of torch; the result is cached in `cache_directory`.
    """
    if device.type != "cpu":
        return device.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    if found.get("amx_bf16", False):
        return True
    if not any(found.get(name, False) for name in _MEASURED):
        return False
    return _cached_measurement()


@cache
def supports_lstm(kind: torch.dtype) -> bool:
    """Try whether a CPU trains an LSTM under autocast to `kind`: oneDNN refuses bfloat16 without AVX-512."""
    weights = [torch.zeros(4, *width) for width in ((1,), (1,), (), ())]  # without biases torch doesn't ask oneDNN
    state = torch.zeros(1, 1, 1)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", kind):
        x = torch.zeros(2, 1, 1, requires_grad=True)
        try:
            found = torch.lstm(x, (state, state), weights, True, 1, 0.0, True, False, False)[0]
            torch.autograd.grad(found.sum(), x)
        except RuntimeError as error:
            if not is_unsupported(error):
                raise
            return False
    return True


def compute_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type to compute in, None for that of the weights; `auto`: bfloat16 where that is fast.

    Raises ValueError for another name than those of PRECISIONS.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else None
    return {"full": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@torch.inference_mode()
def is_bf16_faster() -> bool:
    """Time a product as a transformer's layer has it, on the CPU in bfloat16 and in single precision."""
    x, weight = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, _WIDTH)
    best = {True: float("inf"), False: float("inf")}
    for _ in range(_REPEATS + 1):  # the first ones warm up; the smallest time is the least disturbed
        for in_bf16 in best:
            begin = time.perf_counter()
            # As the networks compute: the conversions of autocast count too.
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                functional.linear(x, weight)
            best[in_bf16] = min(best[in_bf16], time.perf_counter() - begin)
    return best[True] < best[False]


def _cached_measurement() -> bool:
    """Load the measurement for this processor, or measure; a cache that cannot be read or written is skipped."""
    # The name alone may stand for several processors: a virtual machine's can be "AMD EPYC".
    limits = {name: os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")}
    described = json.dumps([torch.__version__, torch.cpu.get_capabilities(), limits], sort_keys=True, default=str)
    name = f"bf16-{blake2b(described.encode(), digest_size=16).hexdigest()}.json"
    with suppress(OSError, ValueError, TrainingError):
        found = json.loads((cache_directory() / name).read_text(encoding="utf-8"))
        if isinstance(found, bool):
            return found
    faster = is_bf16_faster()
    with suppress(OSError, DataError, TrainingError):
        cache_directory().mkdir(parents=True, exist_ok=True)
        with atomic_file(cache_directory() / name) as file:
            json.dump(faster, file)
    return faster
