"""The event-time loss: the event that a sentence finds must attend to the frames in which it happens.

Nothing in the loss of the paper ties the attention of an event prototype to the time of what it is about: the frame
decoder can bring what happens to any frame, and the events read it there. Then the curve of an event is no evidence.
Where the data know when an event happens, each of its sentences is an example (attention is supervised in the same way
by Liu et al., Attention Correctness in Neural Image Captioning, AAAI 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor


def event_time_loss(
    curves: Tensor, cosines: Tensor, within: Tensor, logit_scale: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Minus the logarithm of the attention to the right frames, averaged over the sentences.

    A sentence weighs the events of its video by the softmax of their cosines with it, so that the loss also chooses
    which event it finds.

    Args:
        curves: of the events of each sentence's video `[R, N_e, L]`, rows sum to 1.
        cosines: of each sentence with these events `[R, N_e]`.
        within: frames in which what the sentence tells happens, bool `[R, L]`; each row has at least one.
        logit_scale: the inverse of the temperature, a scalar; this loss does not train it.

    Returns:
        A scalar, and the fraction of sentences whose best event attends most to such a frame.

    One event, three quarters of whose attention are in time:

    >>> curves, within = torch.tensor([[[0.25, 0.5, 0.25]]]), torch.tensor([[False, True, True]])
    >>> event_time_loss(curves, torch.ones(1, 1), within, torch.tensor(100.0))[0].exp()
    tensor(1.3333)
    """
    weights = (logit_scale.detach() * cosines).softmax(dim=1)
    in_time = (curves * within[:, None]).sum(dim=2)  # [R, N_e]
    loss = -(weights * in_time).sum(dim=1).clamp(min=1e-6).log().mean()
    rows = torch.arange(len(curves), device=curves.device)
    peaks = curves[rows, cosines.argmax(dim=1)].argmax(dim=1)
    return loss, {"event_time": within[rows, peaks].float().mean()}
