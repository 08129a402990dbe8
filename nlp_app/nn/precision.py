"""In what numbers to compute: single precision, or half of it where the hardware is made for that."""

from __future__ import annotations

import torch

PRECISIONS = ("full", "auto", "bf16", "fp16")


def has_fast_bf16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by itself, and so in less time."""
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return device.type == "cuda" and bool(torch.cuda.is_bf16_supported(including_emulation=False))


def compute_type(precision: str, device: torch.device) -> torch.dtype | None:
    """The type to compute in, None for that of the weights; `auto`: bfloat16 where that is fast.

    Raises ValueError for another name than those of PRECISIONS.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision: found {precision!r}, expected one of {', '.join(PRECISIONS)}")
    if precision == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else None
    return {"full": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
