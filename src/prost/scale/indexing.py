"""Indexing on Ray Data: paths -> decoding actors -> encoding actors, which write fragments -> commits by this process.

This process holds the library's lock or lease and decides, as for one machine, what is read, what is known and what is
refused. The workers read and encode by the code of one machine and write their clips into files of the library's table
that nobody sees. This process commits these files, and after them the rows of the videos whose clips are all there.
What a dead worker was doing is done again by another one; what a dead driver had committed is not done again by the
next run.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from prost.errors import ProstError, UsageError, VideoError
from prost.printable import counted
from prost.scale.actors import (
    DecodedEnd,
    Decoder,
    Encoder,
    Fragments,
    StoredClip,
    hash_files,
    pack,
    unpack,
)
from prost.search.reading import KnownContent, Refused, requests
from prost.search.source import EncodedFile, Source, SourceEvent, WorkForOthers, WrittenClips
from prost.video.files import SeenFile
from prost.video.reader import ReadEnd, ReadRequest

# Files of one execution. Each begins with hashing, and with new actors, which load the model.
CHUNK_FILES = 4096
# Files of one task of a decoder: what a lost worker costs.
TASK_FILES = 4
# Pixels and clips that an encoder gets at a time; its clips become one fragment.
ENCODED_BYTES, ENCODED_CLIPS = 48 << 20, 256
# Memory that Ray sets aside for each actor, so that it does not put too many on one machine: a decoder has a child
# process with a decoder's pictures and some decoded clips, an encoder torch and its activations besides the model.
DECODER_BYTES, ENCODER_BYTES = 1 << 30, 3 << 29

RUN_AGAIN = "run it again: what was committed is kept"


def on_ray(*, device: str = "auto", decoders: int | None = None) -> Callable[[WorkForOthers], Source]:
    """For `Library.add(..., elsewhere=...)` within `prost.scale.cluster.connected`.

    The library, if it is a folder, and the videos must be seen by all machines under the same paths. An object store
    must be reachable by all, by `storage_options` or by the environment of each.

    Args:
        device: where each encoder runs: `auto` for a GPU each where the cluster has some, else a core; or `cpu`.
        decoders: decoding actors at most; None for a quarter of the cores, or all but one beside GPUs.
    """
    return lambda work: _RaySource(work, device, decoders)


@dataclass(kw_only=True)
class _Progress:
    """How much of one file has come back."""

    end: ReadEnd | Refused | None = None
    shown: int = 0
    not_finite: int = 0


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many actors of each kind at most, and what each takes of a machine.

    Attributes:
        decoders: number of them.
        encoders: likewise.
        cores: of each actor that has no GPU.
        gpus: of each encoder.
    """

    decoders: int
    encoders: int
    cores: float
    gpus: float

    @classmethod
    def of(cls, cores: float, gpus: float, decoders: int | None = None) -> Shares:
        """Share a cluster; there is always room for one actor of each kind at a time.

        Raises:
            UsageError: the cluster has no core.

        >>> Shares.of(cores=8, gpus=0)
        Shares(decoders=2, encoders=6, cores=1.0, gpus=0.0)
        >>> Shares.of(cores=16, gpus=2)
        Shares(decoders=15, encoders=2, cores=1.0, gpus=1.0)
        """
        if cores <= 0:
            raise UsageError("a Ray cluster without a core", "one core or more", "--ray local")
        each = min(1.0, cores / 2)
        slots = max(2, math.floor(cores / each))
        if gpus >= 1:
            return cls(decoders=min(decoders or slots, slots - 1), encoders=int(gpus), cores=each, gpus=1.0)
        reading = min(decoders or max(1, slots // 4), slots - 1)
        return cls(decoders=reading, encoders=slots - reading, cores=each, gpus=0.0)


@dataclass(frozen=True)
class _RaySource:
    """Has the workers of the connected cluster read and encode; see `on_ray`."""

    work: WorkForOthers
    device: str
    decoders: int | None
    _shipped: list[Any] = field(default_factory=list)

    def __call__(
        self, files: Sequence[SeenFile], known: Callable[[str], bool], take: Callable[[SourceEvent], None]
    ) -> None:
        """As `Source`; files that are read come as they are done, the others of a chunk of files after them."""
        import ray

        total = ray.cluster_resources()
        gpus = 0.0 if self.device == "cpu" else total.get("GPU", 0.0)
        shares = Shares.of(total.get("CPU", 0.0), gpus, self.decoders)
        for first in range(0, len(files), CHUNK_FILES):
            self._index(files[first : first + CHUNK_FILES], known, take, shares)

    def _index(
        self,
        files: Sequence[SeenFile],
        known: Callable[[str], bool],
        take: Callable[[SourceEvent], None],
        shares: Shares,
    ) -> None:
        contents = self._contents(files, shares)

        def content_of(path: str) -> str:
            content = contents[path]
            if isinstance(content, VideoError):
                raise content
            return content

        settings, frames = self.work.description.clips, self.work.model.config.frames
        reads: list[Any] = []
        others: list[KnownContent | Refused] = []
        for wanted in requests(files, known, settings, frames, content_of):
            if isinstance(wanted, ReadRequest):
                reads.append(wanted.key)
            else:
                others.append(wanted)
        if reads:
            self._encode(reads, take, shares)
        # A copy is known only after the file whose content it has.
        for other in others:
            take(other)

    def _contents(self, files: Sequence[SeenFile], shares: Shares) -> dict[str, str | VideoError]:
        """Hash of each file's content, or why there is none, by path."""
        hashed = _rows(list(enumerate(files)), 32).map_batches(
            hash_files, batch_size=None, batch_format="pyarrow", num_cpus=shares.cores
        )
        return {files[number].path: content for number, content in _records(hashed)}

    def _encode(self, reads: Sequence[Any], take: Callable[[SourceEvent], None], shares: Shares) -> None:
        running = {number: _Progress() for number in range(len(reads))}
        for record in _records(self._pipeline(reads, shares)):
            if isinstance(record, Fragments):
                take(WrittenClips(fragments=record.fragments, nbytes=record.nbytes))
                continue
            file = running[record.number]
            if isinstance(record, StoredClip):
                file.shown += record.finite
                file.not_finite += not record.finite
            elif isinstance(record, DecodedEnd):
                file.end = record.end
            end = file.end
            if isinstance(end, Refused):
                del running[record.number]
                take(end)
            elif end is not None and file.shown + file.not_finite == end.windows - end.failed:
                del running[record.number]
                take(EncodedFile(end=end, shown=file.shown, not_finite=file.not_finite))
        if running:
            raise ProstError(
                f"the Ray cluster ended without all clips of {counted(len(running), 'file')}",
                suggestion=RUN_AGAIN,
            )

    def _pipeline(self, reads: Sequence[Any], shares: Shares) -> Any:
        from ray.data import ActorPoolStrategy

        config, settings = self.work.model.config, self.work.description.clips
        clip_bytes = config.frames * config.image_size**2 * 3
        decoded = _rows(list(enumerate(reads)), TASK_FILES).map_batches(
            Decoder,
            fn_constructor_args=(config.image_size, settings.fit, settings, config.frames),
            batch_size=None,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=shares.decoders),
            num_cpus=shares.cores,
            memory=DECODER_BYTES,
        )
        return decoded.map_batches(
            Encoder,
            fn_constructor_args=(self._work_without_model(), self._model(), self.device),
            batch_size=max(1, min(ENCODED_CLIPS, ENCODED_BYTES // clip_bytes)),
            batch_format="pyarrow",
            compute=ActorPoolStrategy(min_size=1, max_size=shares.encoders),
            num_cpus=0 if shares.gpus else shares.cores,
            num_gpus=shares.gpus or None,
            memory=ENCODER_BYTES + _model_bytes(self.work.model),
        )

    def _work_without_model(self) -> dict[str, Any]:
        return {
            each.name: getattr(self.work, each.name) for each in fields(self.work) if each.name != "model"
        }

    def _model(self) -> Any:
        """Ray's reference to the model, which is put into its store once."""
        if not self._shipped:
            import ray

            self._shipped.append(ray.put(self.work.model))
        return self._shipped[0]


def _rows(records: Sequence[Any], each: int) -> Any:
    """Records as a dataset of blocks of some rows."""
    import ray.data

    # The command has a progress bar of its own, and its messages are its own lines.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray.data.from_arrow([pack(records[at : at + each]) for at in range(0, len(records), each)])


def _records(dataset: Any) -> Iterator[Any]:
    """The records of a dataset, as they are made.

    Raises:
        ProstError: a worker raised it, or the cluster cannot go on.
    """
    import ray

    try:
        for rows in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from unpack(rows)
    except ray.exceptions.RayError as error:
        raise _failure(error) from None


def _failure(error: BaseException) -> ProstError:
    """What a worker raised, or one line for what Ray says."""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, ProstError):
            return at
        at = getattr(at, "cause", None) or at.__cause__
    line = (str(error).strip() or type(error).__name__).splitlines()[-1]
    return ProstError(
        f"the Ray cluster stopped working ({line})",
        suggestion=RUN_AGAIN,
    )


def _model_bytes(model: Any) -> int:
    if not isinstance(model, torch.nn.Module):
        return 0
    return sum(tensor.nbytes for tensor in model.state_dict().values())
