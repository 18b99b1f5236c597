"""The shards of a library as replicas on Ray Serve; this process stays the one that answers clients.

Each shard is a Serve application with one replica, since a request is for one certain shard. Serve starts a replica
that died again; `ShardedRanker` then lets it open the version that is searched. A shard that does not answer counts as
lost until it answers again, so that only the request that finds it lost waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prost.errors import ProstError, UsageError
from prost.printable import counted
from prost.scale.cluster import LOCAL, connected
from prost.search.library import MEMORY, Library
from prost.search.parts import Part
from prost.search.request import Request
from prost.search.sharding import LibraryVersion, Shard, ShardAnswer, shard_count, shards_with_clips
from prost.search.store import Store

if TYPE_CHECKING:
    from ray.serve.handle import DeploymentHandle

# Seconds for an answer, for opening a version, and for a replica that did not answer last time.
ANSWER_SECONDS, PREPARE_SECONDS, LOST_SECONDS = 10.0, 600.0, 1.0


class ShardReplica:
    """One shard, in a process of Serve. Opening a version does not keep it from answering.

    What is wrong is an answer, too: so it arrives as it is, and not as a failure of Ray.

    Args:
        part: which shard.
        storage_options: what Lance needs to reach an object store.
    """

    def __init__(self, part: Part, storage_options: Mapping[str, str] | None) -> None:
        self._shard = Shard(part, MEMORY, storage_options)

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
        asked = {
            number: self._ask(number, handle.prepare, version) for number, handle in enumerate(self._handles)
        }
        for number, response in asked.items():
            seconds = LOST_SECONDS if number in self._lost else PREPARE_SECONDS
            self._answer(number, response, seconds)

    def rank(self, request: Request, version: LibraryVersion) -> list[ShardAnswer | None]:
        """As `Shards.rank`."""
        with self._lock:
            lost = set(self._lost)
        asked = {
            number: self._ask(number, handle.rank, request, version)
            for number, handle in enumerate(self._handles)
            if number not in lost
        }
        answers: list[ShardAnswer | None] = [None] * self.count
        for number, response in asked.items():
            answers[number] = self._answer(number, response, ANSWER_SECONDS)
        return answers

    def _ask(self, number: int, method: Any, *given: Any) -> Any:
        """Serve's response to a call of a shard; None where it is lost."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            return method.remote(*given)
        except (RayError, RayServeException):
            with self._lock:
                self._lost.add(number)
            return None

    def _answer(self, number: int, response: Any, seconds: float) -> Any:
        """What a shard answers, given what `_ask` returned; None where it is lost.

        Raises:
            ProstError: what the shard found wrong.
        """
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        if response is None:
            return None
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
    storage_options: Mapping[str, str] | None = None,
) -> Iterator[RayShards]:
    """Context in which the shards of a library run on Ray Serve. Afterwards they are gone, as is a local cluster.

    Args:
        address: `HOST:PORT` of a cluster, or `local` for one on this machine that ends with the context.
        count: number of shards.
        storage_options: what Lance needs to reach an object store.

    Raises:
        UsageError: no replica is asked for; or as `connected`.
        ProstError: as `connected`.
    """
    if count < 1:
        raise UsageError(f"replicas {count}", "1 or more")
    with connected(address):
        from ray import serve

        run = f"prost-{uuid4().hex[:8]}"
        names = [f"{run}-{number}" for number in range(count)]
        try:
            yield RayShards(_started(names, address == LOCAL, storage_options))
        finally:
            if address == LOCAL:
                serve.shutdown()
            else:
                for name in names:
                    serve.delete(name)


def _started(
    names: Sequence[str], local: bool, storage_options: Mapping[str, str] | None
) -> list[DeploymentHandle]:
    """Start an application of one replica for each shard; returns when all of them answer."""
    from ray import serve
    from ray.serve import RunTarget

    # What goes wrong is told by exceptions; importing Serve set another level.
    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR"})
    replica = serve.deployment(
        num_replicas=1,
        # On one machine replicas share the cores, however few there are.
        ray_actor_options={"num_cpus": 0 if local else 1},
        max_ongoing_requests=64,
        health_check_period_s=1,
        graceful_shutdown_timeout_s=2,
    )(ShardReplica)
    parts = [Part(number=number, count=len(names)) for number in range(len(names))]
    return serve.run_many(
        [
            RunTarget(target=replica.bind(part, storage_options), name=name, route_prefix=None)
            for name, part in zip(names, parts, strict=True)
        ]
    )


@contextmanager
def served_through(
    library: Library, address: str | None, replicas: int | None, say: Callable[[str], None]
) -> Iterator[str]:
    """Context in which replicas on Ray Serve score the clips of a library; gives a few words about them.

    A replica that would own no clips is not started.

    Args:
        library: open, with its model.
        address: as for `shards_on_ray`; None where this process scores the clips itself.
        replicas: how many are asked for; None for a number that suits the size of the library.
        say: takes a line where fewer start than were asked for.

    Raises:
        ProstError: as `shards_on_ray`.
    """
    if address is None:
        yield ""
        return
    store = Store.open(library.tables, library.storage_options)
    asked = replicas or shard_count(library.description.sizes, library.stats().clips)
    count = shards_with_clips(store, asked)
    if count < asked:
        say(
            f"{counted(count, 'replica')} of {asked} will run: each owns whole fragments of the library, and the "
            f"others would get none; more videos make more fragments, one for each {store.rows_per_fragment():,} clips"
        )
    with shards_on_ray(address, count, storage_options=library.storage_options) as shards:
        library.search_through(shards)
        try:
            yield f", with {counted(count, 'replica')} on Ray"
        finally:
            library.close()
