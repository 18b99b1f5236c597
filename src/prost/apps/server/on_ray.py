"""The shards of a library as replicas on Ray Serve; this process stays the one that answers clients.

Each shard is a Serve application with one replica, since a request is for one certain shard. Serve starts a replica
that died again; `ShardedRanker` then lets it open the version that is searched. A shard that does not answer counts as
lost until it answers again, so that only the request that finds it lost waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prost.errors import ProstError, UsageError
from prost.search.library import MEMORY, Library
from prost.search.parts import Part
from prost.search.request import Request
from prost.search.sharding import LibraryVersion, Shard, ShardAnswer, shard_count

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

LOCAL = "local"
INSTALL = "pip install 'prost-video[ray]'"
# Seconds for an answer, for opening a version, and for a replica that did not answer last time.
ANSWER_SECONDS, PREPARE_SECONDS, LOST_SECONDS = 10.0, 600.0, 1.0
# Seconds until a cluster that is there takes a connection.
CONNECT_SECONDS = 5.0


class ShardReplica:
    """One shard, in a process of Serve. Opening a version does not keep it from answering.

    What is wrong is an answer, too: so it arrives as it is, and not as a failure of Ray.

    Args:
        part: which shard.
        memory: bytes of prototypes that may stay in memory, for each of two versions.
        storage_options: what Lance needs to reach an object store.
    """

    def __init__(self, part: Part, memory: int, storage_options: Mapping[str, str] | None) -> None:
        self._shard = Shard(part, memory, storage_options)

    async def prepare(self, version: LibraryVersion) -> ProstError | None:
        """As `Shard.prepare`; returns what was wrong."""
        try:
            await asyncio.to_thread(self._shard.prepare, version)
        except ProstError as error:
            return error
        return None

    async def rank(self, request: Request, version: LibraryVersion) -> ShardAnswer | ProstError | None:
        """As `Shard.rank`, or what was wrong."""
        try:
            return await asyncio.to_thread(self._shard.rank, request, version)
        except ProstError as error:
            return error


class RayShards:
    """Shards on Ray Serve; see `prost.search.sharding.Shards`. Threads may share it.

    Args:
        handles: of the shards, in their order.
    """

    def __init__(self, handles: Sequence[DeploymentHandle]) -> None:
        self._handles = handles
        self._lock = threading.Lock()
        self._lost: set[int] = set()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._handles)

    def prepare(self, version: LibraryVersion) -> None:
        """As `Shards.prepare`; a replica that answers is no longer lost."""
        asked = {number: handle.prepare.remote(version) for number, handle in enumerate(self._handles)}
        for number, response in asked.items():
            seconds = LOST_SECONDS if number in self._lost else PREPARE_SECONDS
            self._answer(number, response, seconds)

    def rank(self, request: Request, version: LibraryVersion) -> list[ShardAnswer | None]:
        """As `Shards.rank`."""
        with self._lock:
            lost = set(self._lost)
        asked = {
            number: handle.rank.remote(request, version)
            for number, handle in enumerate(self._handles)
            if number not in lost
        }
        answers: list[ShardAnswer | None] = [None] * self.count
        for number, response in asked.items():
            answers[number] = self._answer(number, response, ANSWER_SECONDS)
        return answers

    def _answer(self, number: int, response: Any, seconds: float) -> Any:
        """What a shard answers, given Serve's response; None where it is lost.

        Raises:
            ProstError: what the shard found wrong.
        """
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            answer = response.result(timeout_s=seconds)
        except (RayError, RayServeException, TimeoutError):
            response.cancel()
            with self._lock:
                self._lost.add(number)
            return None
        with self._lock:
            self._lost.discard(number)
        if isinstance(answer, ProstError):
            raise answer
        return answer


@contextmanager
def shards_on_ray(
    address: str,
    count: int,
    *,
    memory: int = MEMORY,
    storage_options: Mapping[str, str] | None = None,
) -> Iterator[RayShards]:
    """Context in which the shards of a library run on Ray Serve. Afterwards they are gone, as is a local cluster.

    Args:
        address: `HOST:PORT` of a cluster, or `local` for one on this machine that ends with the context.
        count: number of shards.
        memory: bytes of prototypes that each may keep in memory, for each of two versions.
        storage_options: what Lance needs to reach an object store.

    Raises:
        UsageError: Ray is not installed, or nobody answers at the address.
    """
    expect_ray()
    if count < 1:
        raise UsageError(f"replicas {count}", "1 or more")
    if address != LOCAL:
        _expect_cluster(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
    import ray
    from ray import serve
    from ray.serve import RunTarget

    local: dict[str, Any] = {"include_dashboard": False} if address == LOCAL else {}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **local)
    run = f"prost-{uuid4().hex[:8]}"
    names = [f"{run}-{number}" for number in range(count)]
    try:
        serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
        replica = serve.deployment(
            num_replicas=1,
            # On one machine replicas share the cores, however few there are.
            ray_actor_options={"num_cpus": 0 if address == LOCAL else 1},
            max_ongoing_requests=64,
            health_check_period_s=1,
            graceful_shutdown_timeout_s=2,
        )(ShardReplica)
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        handles = serve.run_many(
            [
                RunTarget(
                    target=replica.bind(Part(number=number, count=count), memory, storage_options),
                    name=name,
                    route_prefix=None,
                )
                for number, name in enumerate(names)
            ]
        )
        yield RayShards(handles)
    finally:
        if address == LOCAL:
            serve.shutdown()
        else:
            for name in names:
                serve.delete(name)
        ray.shutdown()


@contextmanager
def served_through(library: Library, address: str | None, replicas: int | None) -> Iterator[str]:
    """Context in which replicas on Ray Serve score the clips of a library; gives a few words about them.

    Args:
        library: open, with its model.
        address: as for `shards_on_ray`; None where this process scores the clips itself.
        replicas: their number; None for one that suits the size of the library.

    Raises:
        UsageError: as `shards_on_ray`.
    """
    if address is None:
        yield ""
        return
    count = replicas or shard_count(library.description.sizes, library.stats().clips)
    with shards_on_ray(address, count) as shards:
        library.search_through(shards)
        try:
            yield f", with {count} {'replica' if count == 1 else 'replicas'} on Ray"
        finally:
            library.close()


def expect_ray() -> None:
    """Check that Ray is installed, with Serve.

    Raises:
        UsageError: it is not.
    """
    if not find_spec("ray") or not find_spec("ray.serve"):
        raise UsageError("Ray is not installed", "the extra `ray`", INSTALL)


def _expect_cluster(address: str) -> None:
    """Check that somebody answers at an address: Ray itself would try for minutes.

    Raises:
        UsageError: nobody does, or it is no address.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        raise UsageError(f"--ray {address}", "local, or HOST:PORT of a Ray cluster", "--ray 10.0.0.5:6379")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except OSError as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({error.strerror or error})",
            "HOST:PORT of a running cluster",
            "ray start --head --port 6379, or --ray local",
        ) from None
