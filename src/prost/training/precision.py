"""In which numbers the forward pass is computed."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def has_fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there, and not emulated.

    A CPU without the instructions multiplies bfloat16 matrices tens of times more slowly than float32 ones.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    able: dict[str, bool] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # older versions of torch do not tell
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))


def takes_bf16(precision: Precision, device: torch.device) -> bool:
    """Whether bfloat16 is what a recipe asks for there; `auto` takes it where it is fast."""
    return precision == "bf16" or (precision == "auto" and has_fast_bf16(device))


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """A new context for one forward pass.

    A cosine in bfloat16 is off by up to 0.004, which a logit scale of 100 makes 0.4: scores are computed outside it.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=takes_bf16(precision, device))
