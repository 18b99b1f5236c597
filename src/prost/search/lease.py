"""One writer at a time on an object store, which has no locks: a lease, held in an object of the library.

The object `writer.lock` names the writer and how long the lease lasts. It is written only on the condition that nobody
else wrote it since it was read, so of two writers one gets it. The holder renews it in the background. A writer that is
killed or loses the network stops renewing, and another takes the lease over when it has expired. Whether it has is told
by the store's clock alone: the time of the object against the time of another one that is written now.

A writer that was suspended does not notice that it lost its lease. Therefore every commit is preceded by a look at the
object (`Lease.expect_held`), and whoever takes a lease over makes the commits fail that were prepared before (see
`Store`).
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from prost.errors import LibraryBusy, StorageError
from prost.object_store import ObjectStore, StoredObject
from prost.search.writer_lock import LOCK

if TYPE_CHECKING:
    from obstore import UpdateVersion

LEASE_SECONDS = 30.0
RENEWALS = 3  # within that time
# The times of a store are whole seconds, so a difference of two may be wrong by one.
CLOCK_STEP = 1.0
WAIT_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The content of the object.

    Attributes:
        owner: of the lease, a text that no other writer has.
        process: number of its process.
        host: name of its machine.
        seconds: how long the lease lasts after the object was written.
        since: when the lease was taken, by the store's clock, ISO 8601; empty until it is renewed first.
        renewals: how often it was renewed.
        released: whether the writer is done.
    """

    owner: str
    process: int
    host: str
    seconds: float
    since: str = ""
    renewals: int = 0
    released: bool = False

    def to_json(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote; something else counts as a lease of nobody known."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return cls(owner="", process=0, host="unknown", seconds=LEASE_SECONDS)


class Lease:
    """A lease that this writer holds.

    Args:
        store: the library's objects.
        holder: what this writer wrote.
        version: of the object.
        fenced: whether commits that earlier writers prepared can no longer land. That is so from the start, unless
            the former holder did not release the lease.

    Attributes:
        fenced: as above; the holder sets it after it has made such commits fail.
    """

    def __init__(self, store: ObjectStore, holder: Holder, version: UpdateVersion, *, fenced: bool) -> None:
        self.fenced = fenced
        self._store = store
        self._holder = holder
        self._version = version
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="prost lease", daemon=True)
        self._thread.start()

    def expect_held(self) -> None:
        """Look whether the lease is still this writer's; called before every commit.

        Raises:
            LibraryBusy: another writer took it over.
            StorageError: the store refuses.
        """
        found = self._store.read(LOCK)
        holder = None if found is None else Holder.from_json(found.data)
        if holder is None or holder.owner != self._holder.owner:
            raise lost_lease(self._store.root, holder)

    def release(self) -> None:
        """Let the next writer begin at once; where the store refuses, it begins when the lease has expired.

        A lease that is not fenced is left to expire, so that the next writer takes it over and fences it.
        """
        self._done.set()
        self._thread.join()
        if not self.fenced:
            return
        with suppress(StorageError):
            self._write(replace(self._holder, released=True))

    def _keep(self) -> None:
        while not self._done.wait(self._holder.seconds / RENEWALS):
            # A store that cannot be reached for a moment is tried again while the lease lasts, and later.
            with suppress(StorageError):
                if not self._renew():
                    return

    def _renew(self) -> bool:
        """Whether the lease is still this writer's."""
        since = self._holder.since
        if not since:
            found = self._store.read(LOCK)
            since = "" if found is None else found.modified.isoformat()
        self._holder = replace(self._holder, since=since, renewals=self._holder.renewals + 1)
        return self._write(self._holder)

    def _write(self, holder: Holder) -> bool:
        # By one thread at a time: `release` waits for the end of the other.
        written = self._store.replace(LOCK, holder.to_json(), self._version)
        if written is None:
            # An earlier write may have arrived though its answer did not.
            found = self._store.read(LOCK)
            if found is None or Holder.from_json(found.data).owner != holder.owner:
                return False
            written = self._store.replace(LOCK, holder.to_json(), found.version)
        if written is not None:
            self._version = written
        return written is not None


@contextmanager
def hold_lease(store: ObjectStore, *, wait: bool = False) -> Iterator[Lease]:
    """Hold the lease of a library.

    Args:
        store: the library's objects.
        wait: wait until the other writer is done or its lease has expired, instead of raising.

    Raises:
        LibraryBusy: another process or thread holds it.
        StorageError: the store refuses.
    """
    lease = _acquire(store, wait)
    try:
        yield lease
    finally:
        lease.release()


def lost_lease(root: str, holder: Holder | None = None) -> LibraryBusy:
    """The error of a writer whose lease another took over."""
    other = "another writer" if holder is None else f"process {holder.process} on {holder.host}"
    return LibraryBusy(
        f"{root}: this process did not renew its lease in time, and {other} writes now",
        "one writer at a time; what was committed before is kept",
        "run it again",
    )


def _acquire(store: ObjectStore, wait: bool) -> Lease:
    mine = Holder(owner=uuid4().hex, process=os.getpid(), host=socket.gethostname(), seconds=LEASE_SECONDS)
    fenced = True
    while True:
        found = store.read(LOCK)
        if found is None:
            fenced = True
            version = store.create(LOCK, mine.to_json())
        else:
            holder = Holder.from_json(found.data)
            if holder.owner == mine.owner:  # the answer to an earlier write was lost
                return Lease(store, mine, found.version, fenced=fenced)
            if not holder.released and not _has_expired(store, holder, found):
                if not wait:
                    raise _busy(store.root, holder, found)
                time.sleep(WAIT_SECONDS)
                continue
            fenced = holder.released
            version = store.replace(LOCK, mine.to_json(), found.version)
        if version is not None:
            return Lease(store, mine, version, fenced=fenced)


def _has_expired(store: ObjectStore, holder: Holder, found: StoredObject) -> bool:
    return (store.now() - found.modified).total_seconds() > holder.seconds + CLOCK_STEP


def _busy(root: str, holder: Holder, found: StoredObject) -> LibraryBusy:
    try:
        since = datetime.fromisoformat(holder.since)
    except ValueError:
        since = found.modified
    return LibraryBusy(
        f"{root} is being written by process {holder.process} on {holder.host} "
        f"since {since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "one writer at a time; searching is possible meanwhile",
        "again when that process is done, or wait for it (wait=True); after a crash its lease expires within "
        f"{holder.seconds:g} s",
    )
