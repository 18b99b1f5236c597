"""The prototypes of a library as files that other programs read: Parquet, NumPy, safetensors.

All are written in pieces, so that a library need not fit in memory.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from prost.export.outputs import new_output, suffix_of
from prost.search.description import Description
from prost.search.filters import expect_filter
from prost.search.quantise import dequantise
from prost.search.records import PrototypeSizes, VideoRow
from prost.search.schema import path_as_text
from prost.search.storage_errors import storage_errors
from prost.search.store import Store

SUFFIXES = (".parquet", ".npz", ".safetensors")
CLIPS_AT_ONCE = 256


def write_prototypes(path: Path, library: str, *, where: str | None = None, force: bool = False) -> int:
    """Write the prototypes of a library's clips, in float32, as a search scores them.

    For n clips: `object` [n, L, N_o, D], `event` [n, N_e, D], `event_attention` [n, N_e, L], `frame_times` [n, L],
    `start` and `end` [n] in seconds on the player's clock, and the `key` of the clip. Each clip comes with the path of
    its video; where several files have the same content, with the first of them. NumPy and safetensors hold `video`
    [n], the place of the path in a list: the array `paths` in NumPy, the JSON list `paths` of the metadata in
    safetensors. Keys are left out of safetensors, which has no texts. The name and the fingerprint of the model are
    stored too.

    Args:
        path: a name that ends in .parquet, .npz or .safetensors.
        library: path of the library.
        where: write only the videos for which this SQL expression is true.
        force: replace a file that is there.

    Returns:
        number of clips.

    Raises:
        UsageError: another suffix, or the output exists.
        BadFilter: `where` cannot be read.
        MissingPath: there is no library.
        LibraryDamaged: it cannot be read.
        OSError: the disk refuses.
    """
    suffix = suffix_of(path, SUFFIXES)
    clips = _Clips(library, where)
    with new_output(path, force) as temporary:
        if suffix == ".parquet":
            _write_parquet(temporary, clips)
        elif suffix == ".npz":
            _write_npz(temporary, clips)
        else:
            _write_safetensors(temporary, clips)
    return clips.count


class _Clips:
    """The clips to write: one version of the table, so that every pass reads the same."""

    def __init__(self, library: str, where: str | None) -> None:
        store = Store.open(library)
        self.description: Description = store.description
        self._root = store.root
        videos = _videos(store, where)  # before the clips, which are committed before their video
        self.paths = [path_as_text(row.path) for row in videos]
        self._video_of = {row.content: place for place, row in enumerate(videos)}
        with storage_errors(self._root):
            self._table = store.clips()
        self.count = sum(len(batch["start"]) for batch in self.batches(["start"]))

    @property
    def shapes(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Shape of one clip and type of each numeric column."""
        sizes = self.description.sizes
        return {
            "object": ((sizes.frames, sizes.objects, sizes.width), np.float32),
            "event": ((sizes.events, sizes.width), np.float32),
            "event_attention": ((sizes.events, sizes.frames), np.float32),
            "frame_times": ((sizes.frames,), np.float64),
            "start": ((), np.float64),
            "end": ((), np.float64),
            "video": ((), np.int64),
        }

    @property
    def metadata(self) -> dict[str, str]:
        return {
            "format": "prost prototypes",
            "model": self.description.model,
            "fingerprint": self.description.fingerprint,
        }

    def batches(self, columns: list[str]) -> Iterator[dict[str, NDArray]]:
        """Some columns of the clips, in pieces of up to CLIPS_AT_ONCE clips."""
        stored = {"object": ["object_codes", "object_scales"], "video": []}
        read = ["content", *(name for column in columns for name in stored.get(column, [column]))]
        with storage_errors(self._root):
            scanner = self._table.scanner(columns=read, batch_size=CLIPS_AT_ONCE, scan_in_order=True)
            for batch in scanner.to_batches():
                place = [self._video_of.get(content, -1) for content in batch["content"].to_pylist()]
                videos = np.array(place, dtype=np.int64)
                chosen = batch.filter(pa.array(videos >= 0))
                if chosen.num_rows:
                    yield {
                        column: _column(chosen, column, videos[videos >= 0], self.description.sizes)
                        for column in columns
                    }


def _videos(store: Store, where: str | None) -> list[VideoRow]:
    if where is not None:
        with storage_errors(store.root):
            where = expect_filter(store.videos(), where)
    first: dict[str, VideoRow] = {}
    for row in store.read_videos(where):
        if row.indexed and row.content is not None:
            first.setdefault(row.content, row)
    return list(first.values())


def _column(batch: pa.RecordBatch, column: str, videos: NDArray[np.int64], sizes: PrototypeSizes) -> NDArray:
    """One column of a batch as an array [clips, ...]."""

    def flat(name: str) -> NDArray:
        return batch[name].flatten().to_numpy(zero_copy_only=False)

    match column:
        case "video":
            return videos
        case "key":
            return np.array(batch["key"].to_pylist(), dtype=object)
        case "start" | "end":
            return batch[column].to_numpy()
        case "frame_times":
            return flat(column).reshape(-1, sizes.frames)
        case "event":
            return flat(column).reshape(-1, sizes.events, sizes.width)
        case "event_attention":
            return flat(column).reshape(-1, sizes.events, sizes.frames)
        case _:
            codes = flat("object_codes").reshape(-1, sizes.frames, sizes.objects, sizes.width)
            return dequantise(codes, flat("object_scales").reshape(-1, sizes.frames, sizes.objects))


def _write_parquet(path: Path, clips: _Clips) -> None:
    """Each row is a clip; prototypes are lists of fixed size, row by row, whose shape is in the field's metadata."""
    fields = [pa.field("key", pa.string()), pa.field("path", pa.string())]
    for name, (shape, kind) in clips.shapes.items():
        if name != "video":
            type_ = pa.from_numpy_dtype(kind)
            size = int(np.prod(shape))
            described = {"shape": json.dumps(list(shape))} if shape else None
            fields.append(pa.field(name, pa.list_(type_, size) if shape else type_, metadata=described))
    schema = pa.schema(fields, metadata=clips.metadata)
    with pq.ParquetWriter(path, schema) as writer:
        for batch in clips.batches(["key", *clips.shapes]):
            columns: list[pa.Array] = [
                pa.array(batch["key"].tolist(), pa.string()),
                pa.array([clips.paths[place] for place in batch["video"]], pa.string()),
            ]
            for name, (shape, _) in clips.shapes.items():
                if name != "video":
                    values = pa.array(np.ascontiguousarray(batch[name]).reshape(-1))
                    size = int(np.prod(shape))
                    columns.append(pa.FixedSizeListArray.from_arrays(values, size) if shape else values)
            writer.write_table(pa.table(columns, schema=schema))


def _write_npz(path: Path, clips: _Clips) -> None:
    texts = {
        "key": np.array([key for batch in clips.batches(["key"]) for key in batch["key"]], dtype=np.str_),
        "paths": np.array(clips.paths, dtype=np.str_),
        **{name: np.array(text) for name, text in clips.metadata.items()},
    }
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name, array in texts.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)
        for name, (shape, kind) in clips.shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                header = {
                    "descr": np.dtype(kind).str,
                    "fortran_order": False,
                    "shape": (clips.count, *shape),
                }
                np.lib.format.write_array_header_2_0(file, header)
                _write_column(file.write, clips, name)


def _write_safetensors(path: Path, clips: _Clips) -> None:
    """By the format's description: the header's length in 8 bytes, a JSON header, then the tensors."""
    types = {"float32": "F32", "float64": "F64", "int64": "I64"}
    header: dict[str, object] = {"__metadata__": {**clips.metadata, "paths": json.dumps(clips.paths)}}
    offset = 0
    for name, (shape, kind) in clips.shapes.items():
        size = clips.count * int(np.prod(shape)) * np.dtype(kind).itemsize
        header[name] = {
            "dtype": types[np.dtype(kind).name],
            "shape": [clips.count, *shape],
            "data_offsets": [offset, offset + size],
        }
        offset += size
    text = json.dumps(header).encode("ascii")
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in clips.shapes:
            _write_column(file.write, clips, name)


def _write_column(write: Callable[[bytes], object], clips: _Clips, name: str) -> None:
    kind = np.dtype(clips.shapes[name][1]).newbyteorder("<")
    for batch in clips.batches([name]):
        write(np.ascontiguousarray(batch[name], dtype=kind).tobytes())
