"""The gradient of a large contrastive batch in the memory of a small one (GradCache, Gao et al., RepL4NLP 2021).

Every text of a batch is compared with every video, so that the loss is not a sum over parts of the batch. But the loss
depends only on the representations. First all parts are encoded without a graph; the loss of the whole batch then gives
the gradient of each representation; finally each part is encoded again with a graph, which passes these gradients on to
the weights. The result is the exact gradient; the price is a second forward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from prost.model.encoding import join

MicroBatch = TypeVar("MicroBatch")
# Single numbers; left on the device, since reading one waits for it, and most steps are not logged.
LossTerms = dict[str, Tensor]


class Encoded(NamedTuple):
    """An encoded part of a batch.

    Attributes:
        text: record of its texts, float32.
        video: record of its videos, float32.
        own_loss: a loss that depends on this part alone, such as the grounding loss; its mean over the parts is added.
            None where there is none.
        measured: measurements of this part; their mean over the parts is logged.
    """

    text: Any
    video: Any
    own_loss: Tensor | None = None
    measured: LossTerms = {}  # noqa: RUF012  # never modified


Encode = Callable[[MicroBatch], Encoded]
LossOf = Callable[[Any, Any], tuple[Tensor, LossTerms]]


@dataclass(frozen=True)
class RandomState:
    """The state of the random generators, so that a forward pass can be repeated with the same dropout."""

    cpu: Tensor
    cuda: Tensor | None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """The current state."""
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def restore(self, device: torch.device) -> None:
        """Set the generators to this state."""
        torch.set_rng_state(self.cpu)
        if self.cuda is not None:
            torch.cuda.set_rng_state(self.cuda, device)


@dataclass(frozen=True)
class ContrastiveStep(Generic[MicroBatch]):
    """One forward and backward pass over a batch, whole or part by part.

    Attributes:
        encode: encodes a part of the batch.
        loss_of: from both records of the whole batch to the loss and measurements; may communicate with other
            processes.
        device: the device of the random generators.
    """

    encode: Encode[MicroBatch]
    loss_of: LossOf
    device: torch.device

    def backward(self, parts: Sequence[MicroBatch]) -> tuple[Tensor, LossTerms, Any, Any]:
        """Add the gradient of the whole batch's loss to the weights' gradients.

        Args:
            parts: the batch in parts; a single part is encoded only once, with its graph.

        Returns:
            the loss, the measurements, and both records without a graph.
        """
        if len(parts) == 1:
            encoded = self.encode(parts[0])
            loss, measured = self.loss_of(encoded.text, encoded.video)
            if encoded.own_loss is not None:
                loss = loss + encoded.own_loss
            loss.backward()
            text, video = (record.mapped(Tensor.detach) for record in encoded[:2])
            return loss.detach(), measured | encoded.measured, text, video
        return self._cached(parts)

    def _cached(self, parts: Sequence[MicroBatch]) -> tuple[Tensor, LossTerms, Any, Any]:
        states: list[RandomState] = []
        seen: list[Encoded] = []
        for part in parts:
            states.append(RandomState.now(self.device))
            with torch.no_grad():
                seen.append(self.encode(part))
        shares = [len(encoded.text) / sum(len(each.text) for each in seen) for encoded in seen]
        text = join([encoded.text for encoded in seen]).mapped(_leaf)
        video = join([encoded.video for encoded in seen]).mapped(_leaf)
        loss, measured = self.loss_of(text, video)
        loss.backward()
        loss = loss.detach()
        gradients = [leaf.grad for leaf in (*text.tensors(), *video.tensors())]
        after = RandomState.now(self.device)
        first = 0
        for part, state, share in zip(parts, states, shares, strict=True):
            state.restore(self.device)
            encoded = self.encode(part)
            rows = slice(first, first + len(encoded.text))
            first = rows.stop
            # A representation that the loss does not use (the event attention) has no gradient.
            reached = [
                (tensor, gradient[rows])
                for tensor, gradient in zip(
                    (*encoded.text.tensors(), *encoded.video.tensors()), gradients, strict=True
                )
                if gradient is not None and tensor.requires_grad
            ]
            if encoded.own_loss is not None:
                loss = loss + share * encoded.own_loss.detach()
                reached.append((share * encoded.own_loss, torch.ones_like(encoded.own_loss)))
            for name, value in encoded.measured.items():
                measured[name] = share * value + measured.get(name, torch.zeros_like(value))
            torch.autograd.backward([tensor for tensor, _ in reached], [gradient for _, gradient in reached])
        after.restore(self.device)
        return loss, measured, text.mapped(Tensor.detach), video.mapped(Tensor.detach)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()
