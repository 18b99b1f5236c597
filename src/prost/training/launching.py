"""Several processes of one training on this machine, as `torchrun` starts them; a stop is one line, not a traceback."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from uuid import uuid4

from prost.errors import TrainingStopped

# How often the processes are looked at, seconds: a failure or a signal is answered this fast.
LOOK_EVERY = 0.2


def is_worker() -> bool:
    """Whether this process was started by `launch` or `torchrun`."""
    return "WORLD_SIZE" in os.environ


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run `python -m prost` with these arguments in several processes that train together, and wait for them.

    Args:
        arguments: the words after `prost`.
        processes: how many; on GPUs one for each.

    Returns:
        the exit code: 0, that of the first process that failed (which has said why on stderr), or 128 and the number
        of the signal that stopped this process, which the others were sent too.

    Raises:
        TrainingStopped: a process died without a word.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from prost.video.reader import usable_cores

    # It logs each signal that it passes on, and each failure that the process itself has explained.
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    # Otherwise it sets one thread for each process, and warns of that.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // processes)))
    with tempfile.TemporaryDirectory(prefix="prost-launch-") as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=LOOK_EVERY,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "prost", *arguments)
        except SignalException as stopped:
            return 128 + int(stopped.sigval)
        except ChildFailedError as failed:
            rank, failure = failed.get_first_failure()
            if failure.exitcode > 0:
                return int(failure.exitcode)
            raise TrainingStopped(
                f"process {rank} was ended by signal {-failure.exitcode}",
                suggestion="look at the memory of the machine, and run the same command again",
            ) from None
    return 0
