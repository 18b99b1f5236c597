"""What the workers of a Ray cluster do: hash files, decode them, encode their clips and write these into the library.

Between the steps travel rows with one column of bytes: pickled records of `prost.search` and `prost.video`, since the
workers run the very same code as one machine does.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prost.errors import VideoError
from prost.model.encoding import choose_device
from prost.model.forms import form_named
from prost.model.retrieval_model import RetrievalModel
from prost.search.choosing_form import encoder_of
from prost.search.encode import EncodedClip, WindowEncoding
from prost.search.reading import FileToRead, Refused, expect_unchanged, request_for, windows_of
from prost.search.records import ClipRows, ClipSettings
from prost.search.source import WorkForOthers
from prost.search.store import Store
from prost.video.files import SeenFile, content_hash
from prost.video.fit import Fit
from prost.video.probe import VideoInfo
from prost.video.reader import FailedWindow, ReadEnd, ReadWindow, VideoReader

COLUMN = "record"
# Records of decoded clips that leave a decoder together.
DECODED_BYTES = 8 << 20


@dataclass(frozen=True, kw_only=True)
class DecodedClip:
    """A clip on its way to an encoder: number of its file in the run, and its place among the file's clips."""

    number: int
    place: int
    window: ReadWindow


@dataclass(frozen=True, kw_only=True)
class DecodedEnd:
    """The end of a file: how its reading ended, or why it was not read."""

    number: int
    end: ReadEnd | Refused


@dataclass(frozen=True, kw_only=True)
class StoredClip:
    """A clip that is encoded; it lies in a fragment if its numbers are finite."""

    number: int
    finite: bool


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """Clips that an encoder wrote: Lance's fragments, and the bytes of the prototypes."""

    fragments: Sequence[Any]
    nbytes: int


def pack(records: Sequence[Any]) -> pa.Table:
    """Records as rows."""
    return pa.table({COLUMN: pa.array([pickle.dumps(record) for record in records], pa.large_binary())})


def unpack(rows: pa.Table) -> list[Any]:
    """Rows as records; they come from processes of this run."""
    return [pickle.loads(record) for record in rows[COLUMN].to_pylist()]


def hash_files(rows: pa.Table) -> pa.Table:
    """For each numbered file the hash of its content as this machine sees it, or the VideoError."""
    return pack([(number, _content_of(file)) for number, file in unpack(rows)])


def _content_of(file: SeenFile) -> str | VideoError:
    try:
        expect_unchanged(file)
        return content_hash(file.path)
    except VideoError as error:
        return error


def no_windows(info: VideoInfo) -> list[NDArray[np.float64]]:
    """Stands in a request that was read already, whose own function cannot travel."""
    return []


class Decoder:
    """Reads files, with a child process of its own.

    Args:
        size: R, the side of the square frames in pixels.
        fit: how a picture becomes square.
        settings: how videos are cut.
        frames: L.
    """

    def __init__(self, size: int, fit: Fit, settings: ClipSettings, frames: int) -> None:
        self._reader = VideoReader(size=size, fit=fit, workers=1)
        self._settings, self._frames = settings, frames

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        """From numbered FileToRead to DecodedClip and DecodedEnd."""
        ready: list[DecodedClip | DecodedEnd] = []
        nbytes = 0
        for number, read in unpack(rows):
            for record in self._read(number, read):
                ready.append(record)
                nbytes += record.window.frames.pixels.nbytes if isinstance(record, DecodedClip) else 0
                if nbytes >= DECODED_BYTES:
                    yield pack(ready)
                    ready, nbytes = [], 0
        yield pack(ready)

    def _read(self, number: int, read: FileToRead) -> Iterator[DecodedClip | DecodedEnd]:
        try:
            expect_unchanged(read.file)
        except VideoError as error:
            # Nothing is said of the content: this machine may just not see the file.
            refused = Refused(file=read.file, content=None, reason=error.reason, detail=error.detail)
            yield DecodedEnd(number=number, end=refused)
            return
        request = request_for(read, self._settings, self._frames)
        place = 0
        for event in self._reader.read([request]):
            if isinstance(event, FailedWindow):
                continue  # the end counts them
            event = replace(event, request=replace(request, windows=no_windows))
            if isinstance(event, ReadWindow):
                yield DecodedClip(number=number, place=place, window=event)
                place += 1
            else:
                yield DecodedEnd(number=number, end=event)


class Encoder:
    """Encodes clips, and writes them into files of the library's table.

    Args:
        work: the values of WorkForOthers without the model.
        model: Ray's reference to the model, which each encoder fetches once.
        device: where the model runs.
    """

    def __init__(self, work: Mapping[str, Any], model: Any, device: str) -> None:
        import ray

        loaded = ray.get(model)
        if isinstance(loaded, RetrievalModel):
            loaded = loaded.to(choose_device(device)).eval()
        all_work = WorkForOthers(**work, model=loaded)
        self._encoder = encoder_of(form_named(all_work.form), loaded)
        self._store = Store(all_work.root, all_work.description, all_work.storage_options)

    def __call__(self, rows: pa.Table) -> pa.Table:
        """From DecodedClip and DecodedEnd to Fragments, StoredClip and DecodedEnd."""
        records = unpack(rows)
        clips = [record for record in records if isinstance(record, DecodedClip)]
        done: list[Any] = [record for record in records if isinstance(record, DecodedEnd)]
        stored: list[ClipRows] = []
        decoded = iter(clips)

        def take(clip: EncodedClip) -> None:
            origin = next(decoded)
            done.append(StoredClip(number=origin.number, finite=clip.finite))
            if clip.finite:
                window = clip.window
                start, end = windows_of(window.info, self._store.description.clips)[window.index]
                stored.append(clip.rows(window.request.key.content, origin.place, start, end))

        WindowEncoding(self._encoder, take).run(clip.window for clip in clips)
        if stored:
            fragments = self._store.write_fragments(stored)
            # Before the clips: who sees a clip as stored has its fragment.
            done.insert(0, Fragments(fragments=fragments, nbytes=sum(rows.nbytes for rows in stored)))
        return pack(done)
