"""In what numbers to compute: single precision, or half of it where the hardware is made for that."""

from __future__ import annotations

from functools import cache

import torch

from nlp_app.errors import is_unsupported

PRECISIONS = ("full", "auto", "bf16", "fp16")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by itself, and so in less time."""
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


@cache
def has_lstm(kind: torch.dtype) -> bool:
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
