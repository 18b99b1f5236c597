"""8-bit prototypes: a vector becomes whole numbers in [-127, 127] and one scale."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LARGEST_CODE = 127


def quantise(vectors: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round vectors to 8 bits, each with its own scale.

    The scale is the vector's largest component divided by 127, so a component changes by half a scale at most. A zero
    vector (a slot whose sparse weights are all zero) stays exactly zero, with scale 0.

    Args:
        vectors: finite `[..., D]`.

    Returns:
        codes `[..., D]` and scales `[...]`, with `vectors ~= scales[..., None] * codes`.

    >>> codes, scales = quantise(np.array([[0.0, 127.0, -63.4], [0.0, 0.0, 0.0]], dtype=np.float32))
    >>> codes.tolist(), scales.tolist()
    ([[0, 127, -63], [0, 0, 0]], [1.0, 0.0])
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    scales = np.abs(vectors).max(axis=-1) / np.float32(LARGEST_CODE)
    # A scale below the smallest normal number would round codes beyond 127, so such a vector counts as zero.
    scales = np.where(scales < np.finfo(np.float32).tiny, np.float32(0), scales)
    divisors = np.where(scales == 0, np.float32(np.inf), scales)
    codes = np.rint(vectors / divisors[..., None])
    return np.clip(codes, -LARGEST_CODE, LARGEST_CODE).astype(np.int8), scales


def dequantise(codes: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors `[..., D]` from codes `[..., D]` and scales `[...]`."""
    return codes.astype(np.float32) * scales[..., None]
