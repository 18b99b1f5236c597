"""A real Ray cluster of several nodes on this machine, for tests and benchmarks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

# Each node keeps its objects in shared memory.
OBJECT_STORE_BYTES = 100 << 20
NODE_MEMORY_BYTES = 4 << 30

REPOSITORY = Path(__file__).parents[1]


@contextmanager
def ray_cluster(*, nodes: int = 2, cpus: int = 2) -> Iterator[str]:
    """The address of a cluster while the context lasts; this process is connected to it.

    Args:
        nodes: each has processes of its own for scheduling and for objects, as on a machine of its own.
        cpus: of each node, as Ray counts them; more than the machine has are allowed.
    """
    # Workers unpickle by import, also what lies in `tests`; and no usage statistics leave the machine.
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "RAY_DEDUP_LOGS": "0"}
    with _environment({**quiet, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])}):
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster()
        try:
            for _ in range(nodes):
                cluster.add_node(
                    num_cpus=cpus,
                    num_gpus=0,
                    memory=NODE_MEMORY_BYTES,
                    object_store_memory=OBJECT_STORE_BYTES,
                    include_dashboard=False,
                )
            ray.init(address=cluster.address, log_to_driver=False, configure_logging=False)
            yield cluster.address
        finally:
            ray.shutdown()
            cluster.shutdown()


@contextmanager
def _environment(more: Mapping[str, str]) -> Iterator[None]:
    """The environment with some variables while the context lasts."""
    before = {name: os.environ.get(name) for name in more}
    os.environ.update(more)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
