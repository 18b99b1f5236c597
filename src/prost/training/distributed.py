"""One training in several processes: who this process is, and what they tell each other.

Every process encodes its rows of the batch and sees the representations of all. Each takes `1 / processes` of the loss
of the *whole* batch; `gather` sends gradients back to the process that made a row, and `sum_gradients` adds up what
each found. The sum is the gradient that one process would have had with the whole batch, of the logit scale too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from prost.errors import BadConfig, UsageError

# One process validates while the others wait for it.
LONGEST_WAIT = timedelta(hours=6)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        first = dist.get_rank() * ctx.rows
        return gradient[first : first + ctx.rows]


@dataclass(frozen=True)
class Processes:
    """The processes of a training, as one of them sees them.

    Attributes:
        rank: which of them this is; 0 writes files and talks.
        world: how many there are.
        device: where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that this process encodes.

        Raises:
            BadConfig: a batch that does not divide.

        >>> Processes(1, 4, torch.device("cpu")).rows(8)
        slice(2, 4, None)
        """
        if batch_size % self.world:
            raise BadConfig(
                f"batch_size {batch_size} does not divide among {self.world} processes",
                suggestion=f"{-(-batch_size // self.world) * self.world}",
            )
        share = batch_size // self.world
        return slice(self.rank * share, (self.rank + 1) * share)

    def gather(self, rows: Tensor) -> Tensor:
        """The rows of all processes, in their order; equally many each.

        Gradients flow back to the process whose row it is, summed over all who used it.

        Args:
            rows: `[b, ...]`.

        Returns:
            `[world * b, ...]`.
        """
        return rows if self.world == 1 else _Gather.apply(rows)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all processes, in place, in one message a data type."""
        if self.world == 1:
            return
        by_type: dict[torch.dtype, list[Tensor]] = {}
        for parameter in parameters:
            if parameter.grad is not None:
                by_type.setdefault(parameter.grad.dtype, []).append(parameter.grad)
        for gradients in by_type.values():
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            dist.all_reduce(flat)
            for gradient, summed in zip(
                gradients, flat.split([gradient.numel() for gradient in gradients]), strict=True
            ):
                gradient.copy_(summed.view_as(gradient))

    def mean(self, values: dict[str, float]) -> dict[str, float]:
        """The mean over the processes of a few numbers that each knows for its own rows."""
        if self.world == 1 or not values:
            return values
        together = torch.tensor(list(values.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(together)
        return dict(zip(values, (together / self.world).tolist(), strict=True))

    def any(self, asked: bool) -> bool:
        """Whether it is so in one of the processes."""
        if self.world == 1:
            return asked
        flag = torch.tensor(int(asked), device=self.device)
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag.item())

    def everyones(self, values: list[str]) -> list[str]:
        """The lists of all processes, one after the other."""
        if self.world == 1:
            return values
        lists: list[list[str]] = [[] for _ in range(self.world)]
        dist.all_gather_object(lists, values)
        return [value for part in lists for value in part]

    def wait(self) -> None:
        """Go on when all have come here."""
        self.any(False)


@contextmanager
def join_processes() -> Iterator[Processes]:
    """Join the processes that `torchrun` started; without it, this one is alone.

    NCCL where each has a GPU of its own, gloo on CPUs.

    Raises:
        UsageError: more processes than GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(0, 1, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        return
    device = torch.device("cpu")
    if torch.cuda.is_available():
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"process {local} of this machine with {torch.cuda.device_count()} GPUs",
                suggestion=f"torchrun --nproc-per-node {torch.cuda.device_count()}",
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device.type == "cpu" else "nccl", timeout=LONGEST_WAIT)
    try:
        yield Processes(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
