"""One training in several processes: the rank of this process, and the communication between them.

Every process encodes its rows of the batch and gets the representations of all rows. Each takes `1 / processes` of the
loss of the *whole* batch; `gather` sends gradients back to the process that encoded a row, and `sum_gradients` adds the
gradients of all processes. The sum equals the gradient that one process would get for the whole batch, also for the
logit scale.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from prost.errors import BadConfig, UsageError
from prost.model.encoding import choose_device

Result = TypeVar("Result")

# One process validates while the others wait.
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
    """The processes of a training, from the view of one of them.

    Attributes:
        rank: of this process; rank 0 writes files and prints.
        world: number of processes.
        device: the device of this process.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that this process encodes.

        Raises:
            BadConfig: the batch does not divide among the processes.

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
        """The rows of all processes, in the order of their ranks; each has the same number.

        Gradients flow back to the process that a row comes from, summed over all processes.

        Args:
            rows: `[b, ...]`.

        Returns:
            `[world * b, ...]`.
        """
        return rows if self.world == 1 else _Gather.apply(rows)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradients of all processes, in place, with one message per data type."""
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

    def mean(self, values: Mapping[str, Tensor | float]) -> dict[str, float]:
        """The mean over the processes of a few numbers that each has for its own rows."""
        if not values:
            return {}
        numbers = [
            torch.as_tensor(value, dtype=torch.float64, device=self.device) for value in values.values()
        ]
        together = torch.stack(numbers)
        if self.world > 1:
            dist.all_reduce(together)
        return dict(zip(values, (together / self.world).tolist(), strict=True))

    def any(self, asked: bool) -> bool:
        """Whether it is true in at least one process."""
        return bool(self._largest(int(asked)))

    def _largest(self, number: int) -> int:
        if self.world == 1:
            return number
        together = torch.tensor(number, device=self.device)
        dist.all_reduce(together, dist.ReduceOp.MAX)
        return int(together.item())

    def everyones(self, values: list[str]) -> list[str]:
        """The lists of all processes, joined in the order of their ranks."""
        if self.world == 1:
            return values
        lists: list[list[str]] = [[] for _ in range(self.world)]
        dist.all_gather_object(lists, values)
        return [value for part in lists for value in part]

    def led(self, work: Callable[[], Result]) -> Result | None:
        """Let the leading process do something while the others wait; None in the others.

        Where it fails, all processes end: the leading one raises its error, the others leave without a word and with
        the same exit code, since one line is enough.
        """
        result, error = None, None
        if self.leads:
            try:
                result = work()
            except Exception as raised:  # raised again below, once the others know of it
                error = raised
        if code := self._largest(0 if error is None else getattr(error, "exit_code", 1)):
            raise error if error is not None else SystemExit(code)
        return result

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.any(False)


@contextmanager
def join_processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that `torchrun` started; without it, this process is alone.

    They communicate by NCCL where each has a GPU of its own, and by gloo on CPUs.

    Args:
        device: see `choose_device`; of several processes each takes the GPU of its local rank.

    Raises:
        UsageError: more processes than GPUs, one GPU for several processes, or a device that does not exist.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device)
    if world == 1:
        yield Processes(0, 1, chosen)
        return
    if chosen.type == "cuda":
        if device not in ("auto", "cuda"):
            raise UsageError(f"device {device!r} for {world} processes", "auto, cuda or cpu")
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"process {local} of this machine with {torch.cuda.device_count()} GPUs",
                suggestion=f"torchrun --nproc-per-node {torch.cuda.device_count()}",
            )
        chosen = torch.device("cuda", local)
        torch.cuda.set_device(chosen)
    dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=LONGEST_WAIT)
    try:
        yield Processes(dist.get_rank(), world, chosen)
    finally:
        dist.destroy_process_group()
