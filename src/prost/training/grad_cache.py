"""The gradient of a large contrastive batch in the memory of a small one (GradCache, Gao et al., RepL4NLP 2021).

Every text of a batch is compared with every video, so a batch cannot be cut into parts whose losses are added. But the
loss needs only the representations: all parts are encoded without a graph, the loss of the whole gives the gradient of
each representation, and each part, encoded once more with a graph, carries its gradients on to the weights. This
is the plain gradient; the price is a second forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from prost.model.doors import join

Part = TypeVar("Part")
Measured = dict[str, float]
Encode = Callable[[Part], tuple[Any, Any]]
LossOf = Callable[[Any, Any], tuple[Tensor, Measured]]


@dataclass(frozen=True)
class RandomState:
    """Where the random numbers stand, so that dropout and other draws of a forward pass can be drawn again."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """As it stands."""
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def restore(self, device: torch.device) -> None:
        """Stand there again."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)


@dataclass(frozen=True)
class ContrastiveStep(Generic[Part]):
    """One forward and backward pass over a batch, whole or part by part.

    Attributes:
        encode: a part of the batch to its text and video record, in float32.
        loss_of: both records of the whole batch to what is descended and what is measured; it may ask other processes.
        device: where random numbers are drawn.
    """

    encode: Encode[Part]
    loss_of: LossOf
    device: torch.device

    def backward(self, parts: Sequence[Part]) -> tuple[Tensor, Measured, Any, Any]:
        """Put the gradient of the whole batch's loss into the weights.

        Args:
            parts: the batch, cut; one part is the plain step, and its representations are kept with their graph.

        Returns:
            the loss, what was measured, and both records without a graph.
        """
        if len(parts) == 1:
            text, video = self.encode(parts[0])
            loss, measured = self.loss_of(text, video)
            loss.backward()
            return loss.detach(), measured, text.mapped(Tensor.detach), video.mapped(Tensor.detach)
        return self._cached(parts)

    def _cached(self, parts: Sequence[Part]) -> tuple[Tensor, Measured, Any, Any]:
        states: list[RandomState] = []
        texts, videos = [], []
        for part in parts:
            states.append(RandomState.now(self.device))
            with torch.no_grad():
                text, video = self.encode(part)
            texts.append(text)
            videos.append(video)
        text, video = join(texts).mapped(_leaf), join(videos).mapped(_leaf)
        loss, measured = self.loss_of(text, video)
        loss.backward()
        gradients = [leaf.grad for leaf in (*text.tensors(), *video.tensors())]
        after = RandomState.now(self.device)
        first = 0
        for part, state in zip(parts, states, strict=True):
            state.restore(self.device)
            part_text, part_video = self.encode(part)
            rows = slice(first, first + len(part_text))
            first = rows.stop
            # A representation that the loss did not read (the event attention) has no gradient to hand on.
            reached = [
                (tensor, gradient[rows])
                for tensor, gradient in zip(
                    (*part_text.tensors(), *part_video.tensors()), gradients, strict=True
                )
                if gradient is not None and tensor.requires_grad
            ]
            torch.autograd.backward([tensor for tensor, _ in reached], [gradient for _, gradient in reached])
        after.restore(self.device)
        return loss.detach(), measured, text.mapped(Tensor.detach), video.mapped(Tensor.detach)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()
