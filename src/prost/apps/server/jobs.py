"""Indexing of folders in a child process, one folder at a time."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

from prost.apps.server.identity import folder_id
from prost.apps.server.problems import Problem, TooBusy
from prost.apps.server.schemas import Job
from prost.apps.server.settings import ServerSettings
from prost.printable import printable
from prost.video.isolation import environment_of_child

logger = logging.getLogger("prost.server")
CHILD = "import sys; from prost.apps.server.indexing import main; sys.exit(main())"
# Finished jobs that are remembered.
REMEMBERED = 50
# Seconds that a cancelled job gets to keep what is finished.
GRACE = 15.0
LONGEST_LINE = 1 << 16

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")


@dataclass(kw_only=True)
class RunningJob:
    """A job; its fields change while it runs. For the public ones see `schemas.Job`."""

    path: str
    id: str = field(default_factory=lambda: uuid4().hex)
    state: State = "queued"
    done: int = 0
    total: int = 0
    failed: int = 0
    current: str = ""
    problem: str | None = None
    summary: str | None = None
    cancelled: bool = False
    process: asyncio.subprocess.Process | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self.state in ENDED

    def shown(self) -> Job:
        """What clients see."""
        return Job(
            id=self.id,
            folder=folder_id(self.path),
            name=printable(os.path.basename(self.path)),
            state=self.state,
            done=self.done,
            total=self.total,
            failed=self.failed,
            current=self.current,
            problem=self.problem,
            summary=self.summary,
        )

    def note(self) -> None:
        """Wake those who wait for news."""
        before, self.changed = self.changed, asyncio.Event()
        before.set()


class Jobs:
    """The jobs of one server.

    Args:
        library: path of the library.
        settings: of the server.
    """

    def __init__(self, library: str, settings: ServerSettings) -> None:
        self._library, self._settings = library, settings
        self._jobs: OrderedDict[str, RunningJob] = OrderedDict()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def running(self) -> int:
        """Jobs that have not ended."""
        return sum(not job.ended for job in self._jobs.values())

    def all(self) -> list[RunningJob]:
        """The jobs, the newest first."""
        return list(reversed(self._jobs.values()))

    def get(self, identifier: str) -> RunningJob:
        """A job.

        Raises:
            Problem: 404 where there is none.
        """
        job = self._jobs.get(identifier)
        if job is None:
            raise Problem(404, "no such job")
        return job

    def add(self, path: str) -> RunningJob:
        """Queue the indexing of a folder; one that waits already is not queued again.

        Raises:
            TooBusy: too many wait.
        """
        for job in self._jobs.values():
            if job.path == path and not job.ended:
                return job
        if self._closed or self.running >= self._settings.limits.jobs:
            raise TooBusy("too many jobs are waiting", seconds=30)
        job = RunningJob(path=path)
        self._jobs[job.id] = job
        for identifier in [each.id for each in self._jobs.values() if each.ended][:-REMEMBERED]:
            del self._jobs[identifier]
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())
        return job

    def cancel(self, job: RunningJob) -> None:
        """Stop a job; what it has finished is kept."""
        if job.ended:
            return
        job.cancelled = True
        if job.state == "queued":
            job.state = "cancelled"
        elif job.process is not None:
            with suppress(ProcessLookupError):
                job.process.send_signal(signal.SIGINT)
        job.note()

    async def close(self) -> None:
        """Stop all jobs."""
        self._closed = True
        for job in self._jobs.values():
            self.cancel(job)
        if self._task is not None:
            await self._task

    async def _work(self) -> None:
        while True:
            job = next((each for each in self._jobs.values() if each.state == "queued"), None)
            if job is None:
                return
            job.state = "running"
            job.note()
            try:
                await self._index(job)
            except OSError as error:
                job.problem = f"the indexing process did not start: {error.strerror}"
            except Exception:  # a bug of ours; without this, the jobs that wait would never run
                logger.exception("a job was given up")
                job.problem = "an error of prost, which the server's log tells"
            job.state = "cancelled" if job.cancelled else "failed" if job.summary is None else "done"
            if job.state == "failed" and job.problem is None:
                job.problem = "the indexing process ended early"
            job.process = None
            job.note()

    async def _index(self, job: RunningJob) -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            CHILD,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LONGEST_LINE,
            # Ctrl-C in the terminal is the server's; it then stops its jobs in order.
            start_new_session=True,
            env=environment_of_child(),
        )
        job.process = process
        try:
            assert process.stdin is not None and process.stdout is not None
            asked = {
                "library": self._library,
                "model": self._settings.model,
                "device": self._settings.device,
                "folder": job.path,
            }
            process.stdin.write(json.dumps(asked).encode("ascii") + b"\n")
            if job.cancelled:  # while the process started
                process.send_signal(signal.SIGINT)
            killer = asyncio.get_running_loop().create_task(_kill_if_cancelled(job, process))
            try:
                async for line in process.stdout:
                    self._take(job, json.loads(line))
            finally:
                killer.cancel()
            await process.wait()
        finally:
            _kill(process)

    def _take(self, job: RunningJob, line: dict[str, int | str]) -> None:
        if "problem" in line:
            job.problem = str(line["problem"])
        elif "summary" in line:
            job.summary, job.failed = str(line["summary"]), int(line["failed_files"])
        else:
            job.done, job.total = int(line["done"]), int(line["total"])
            job.failed, job.current = int(line["failed"]), str(line["name"])
        job.note()


async def _kill_if_cancelled(job: RunningJob, process: asyncio.subprocess.Process) -> None:
    while not job.cancelled:
        await job.changed.wait()
    await asyncio.sleep(GRACE)
    _kill(process)


def _kill(process: asyncio.subprocess.Process) -> None:
    """End what is left of the process and its own children."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
