"""Select the floating-point type to compute in: float32, or a lower precision where the device is faster in it."""

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

_MEASURED = ("avx512_bf16", "bf16")  # CPU flags with which bfloat16 may be faster or slower, so it is measured

_ROWS, _WIDTH = 256, 768  # subwords of a batch, units of a layer

_REPEATS = 5


def has_fast_bf16(device: torch.device) -> bool:
    """Check if a device computes faster in bfloat16 than in float32.

    A CPU with AMX does; a CPU without bfloat16 instructions does not. With `avx512_bf16` alone it depends on the CPU: a
    transformer takes a third of the time on an AMD Zen 5 and 1.5 times the time on an Intel Xeon. So it is measured
    once for each CPU and version of torch, and the result is cached in `cache_directory`.

    Args:
        device: The device to compute on.

    Returns:
        True if bfloat16 is faster.
    """
    if device.type != "cpu":
        return device.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    if capabilities.get("amx_bf16", False):
        return True
    if not any(capabilities.get(name, False) for name in _MEASURED):
        return False
    return _cached_measurement()


@cache
def supports_lstm(kind: torch.dtype) -> bool:
    """Check if the CPU can train an LSTM under autocast; oneDNN rejects bfloat16 without AVX-512.

    Args:
        kind: The autocast type.

    Returns:
        True if training one step of a tiny LSTM succeeds.
    """
    weights = [torch.zeros(4, *width) for width in ((1,), (1,), (), ())]  # without biases, torch does not use oneDNN
    state = torch.zeros(1, 1, 1)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", kind):
        x = torch.zeros(2, 1, 1, requires_grad=True)
        try:
            output = torch.lstm(x, (state, state), weights, True, 1, 0.0, True, False, False)[0]
            torch.autograd.grad(output.sum(), x)
        except RuntimeError as error:
            if not is_unsupported(error):
                raise
            return False
    return True


def compute_type(precision: str, device: torch.device) -> torch.dtype | None:
    """Select the autocast type for a precision setting.

    Args:
        precision: One of `PRECISIONS`; "auto" is bfloat16 where the device is faster in it.
        device: The device to compute on.

    Returns:
        The type, or None to compute in the type of the weights.

    Raises:
        ValueError: If `precision` is not one of `PRECISIONS`.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else None
    return {"full": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@torch.inference_mode()
def is_bf16_faster() -> bool:
    """Measure if a matrix product of a transformer layer's size is faster on the CPU in bfloat16 than in float32.

    Returns:
        True if bfloat16 is faster.
    """
    x, weight = torch.ones(_ROWS, _WIDTH), torch.ones(_WIDTH, _WIDTH)
    best = {True: float("inf"), False: float("inf")}
    for _ in range(_REPEATS + 1):  # the first run warms up; other processes disturb the shortest time least
        for in_bf16 in best:
            begin = time.perf_counter()
            # Autocast as in the networks, so that its type conversions are included.
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bf16):
                functional.linear(x, weight)
            best[in_bf16] = min(best[in_bf16], time.perf_counter() - begin)
    return best[True] < best[False]


def _cached_measurement() -> bool:
    """Load the measurement for this CPU, or measure and save it. A cache that cannot be read or written is skipped."""
    # All capabilities, not the CPU's name: a virtual machine may report only "AMD EPYC" for different CPUs.
    limits = {name: os.environ.get(name) for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")}
    key = json.dumps([torch.__version__, torch.cpu.get_capabilities(), limits], sort_keys=True, default=str)
    name = f"bf16-{blake2b(key.encode(), digest_size=16).hexdigest()}.json"
    with suppress(OSError, ValueError, TrainingError):
        cached = json.loads((cache_directory() / name).read_text(encoding="utf-8"))
        if isinstance(cached, bool):
            return cached
    faster = is_bf16_faster()
    with suppress(OSError, DataError, TrainingError):
        cache_directory().mkdir(parents=True, exist_ok=True)
        with atomic_file(cache_directory() / name) as file:
            json.dump(faster, file)
    return faster
