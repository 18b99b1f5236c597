"""Lets open_clip be imported beside the CPU build of torch: a plugin of pytest, which `make test-open-clip` uses.

open_clip imports torchvision. The package index has it for CUDA builds of torch alone, and there its import fails:
it describes two of its own operators that its library would have defined. Nothing that open_clip computes needs them,
so it is enough that they have a signature.
"""

import torch

# Operators go when their library does.
LIBRARIES = []


def pytest_configure() -> None:
    """Give the operators a signature, and import open_clip; what fails here would only skip its tests."""
    operators = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    LIBRARIES.append(operators)
    import open_clip  # noqa: F401
