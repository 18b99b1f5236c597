"""Columns of the two tables, and records to columns and back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import fields
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from prost.search.records import ClipRows, PrototypeSizes, VideoRow

VIDEO_SCHEMA = pa.schema(
    [
        pa.field(
            "key", pa.string(), nullable=False
        ),  # hash of the path's bytes: a name may not be valid text
        pa.field("path_bytes", pa.binary(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("folder", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("modified", pa.int64(), nullable=False),
        pa.field("added", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("content", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("detail", pa.string()),
        pa.field("duration", pa.float64()),
        pa.field("fps", pa.float64()),
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field("codec", pa.string()),
        pa.field("clips", pa.int32(), nullable=False),
        pa.field("tags", pa.list_(pa.string()), nullable=False),
    ]
)


def clip_schema(sizes: PrototypeSizes) -> pa.Schema:
    """Columns of the clips table: every row has the same size."""
    slots = sizes.frames * sizes.objects
    return pa.schema(
        [
            pa.field("key", pa.string(), nullable=False),
            pa.field("content", pa.string(), nullable=False),
            pa.field("start", pa.float64(), nullable=False),
            pa.field("end", pa.float64(), nullable=False),
            pa.field("frame_times", pa.list_(pa.float64(), sizes.frames), nullable=False),
            pa.field("object_codes", pa.list_(pa.int8(), slots * sizes.width), nullable=False),
            pa.field("object_scales", pa.list_(pa.float32(), slots), nullable=False),
            pa.field("event", pa.list_(pa.float32(), sizes.events * sizes.width), nullable=False),
            pa.field("event_attention", pa.list_(pa.float32(), sizes.events * sizes.frames), nullable=False),
        ]
    )


def clip_row_bytes(sizes: PrototypeSizes) -> int:
    """Bytes of one clip's prototypes and attention."""
    slots = sizes.frames * sizes.objects
    return slots * (sizes.width + 4) + sizes.events * (sizes.width + sizes.frames) * 4


def path_key(path: str) -> str:
    """Key of a path's row."""
    return blake2b(os.fsencode(path), digest_size=16).hexdigest()


def video_table(videos: Sequence[VideoRow]) -> pa.Table:
    """Records as rows of the videos table."""
    return pa.Table.from_pylist([_video_columns(video) for video in videos], schema=VIDEO_SCHEMA)


def video_rows(table: pa.Table) -> list[VideoRow]:
    """Rows of the videos table as records, sorted by path."""
    rows = (_video_row(row) for row in table.to_pylist())
    return sorted(rows, key=lambda video: os.fsencode(video.path))


def clip_table(clips: Sequence[ClipRows], sizes: PrototypeSizes) -> pa.Table:
    """Records as rows of the clips table."""
    schema = clip_schema(sizes)
    return pa.concat_tables(_clips_of_one_video(rows, schema) for rows in clips)


def _video_columns(video: VideoRow) -> dict[str, Any]:
    path = path_as_text(video.path)
    folder, name = os.path.split(path)
    values = {field.name: getattr(video, field.name) for field in fields(video)}
    return {
        **values,
        "key": path_key(video.path),
        "path_bytes": os.fsencode(video.path),
        "path": path,
        "folder": folder,
        "name": name,
        "tags": list(video.tags),
    }


def _video_row(columns: dict[str, Any]) -> VideoRow:
    values = {field.name: columns[field.name] for field in fields(VideoRow)}
    return VideoRow(**{**values, "path": os.fsdecode(columns["path_bytes"]), "tags": tuple(columns["tags"])})


def path_as_text(path: str) -> str:
    """A path that can be stored as text: bytes that are not UTF-8 are written as escapes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _clips_of_one_video(clips: ClipRows, schema: pa.Schema) -> pa.Table:
    count = len(clips)
    columns = {
        "key": pa.array([f"{clips.content}:{clips.first + index}" for index in range(count)]),
        "content": pa.array([clips.content] * count),
        "start": pa.array(clips.start),
        "end": pa.array(clips.end),
    }
    for name in ("frame_times", "object_codes", "object_scales", "event", "event_attention"):
        values = np.ascontiguousarray(getattr(clips, name))
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values[0].size)
    return pa.table(columns, schema=schema)
