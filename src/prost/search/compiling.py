"""Compiled functions that also work where no folder can be written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`numba.njit` whose result is kept on disk; without that where neither the package nor the home is writable.

    Args:
        options: those of `numba.njit`.
    """

    def compile(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(cache=True, **options)(function)
        except RuntimeError as error:
            # A read-only installation, as in a container: each process compiles for itself, which takes seconds.
            if "cannot cache function" not in str(error):
                raise
            return numba.njit(**options)(function)

    return compile
