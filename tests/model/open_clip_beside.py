"""Lets open_clip be imported beside the CPU build of torch; a plugin of pytest (`make test-open-clip`).

open_clip imports torchvision. The package index has it for CUDA builds of torch alone, and there its import fails:
it describes two of its own operators that its library would have defined. Nothing that open_clip computes needs them,
so it is enough that they have a signature.
"""

import torch

OPERATORS = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    OPERATORS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import open_clip  # noqa: E402, F401  # what fails here would only skip the tests there
