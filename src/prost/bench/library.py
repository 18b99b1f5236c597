"""A generated library on disk, with the tables and packs of any other library, written in one stream.

WORK/library-<fingerprint>-<clips>/
    clips.prost/    the library, opened by `Library`; one video for each block of clips
    means.npy       mean class token of each clip, for the rival that pools; not part of the library
    build.json      settings and build times; written last, so its presence marks a complete library
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.encoder import BlockEncoder, CodingQuality, EncodedBlock
from prost.bench.generator import CLIPS_A_BLOCK, ClipBlock, Generator
from prost.errors import StorageError
from prost.printable import format_bytes
from prost.progress import Advance
from prost.search.codebook import SAMPLES_A_CENTROID, codebook_size, train_codebook
from prost.search.codes import Codebooks, CodedClips, event_directions, pack_codes
from prost.search.coding import PACK_CLIPS
from prost.search.description import Description
from prost.search.fragments import data_file, find_pages
from prost.search.packs import Current, Pack, PackedFragment, PackedRows, PackFolder, pack_folder
from prost.search.quantise import dequantise
from prost.search.records import ClipRows, PrototypeSizes, VideoRow
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store
from prost.video.sampling import sample_times

TABLES, MEANS, NOTES = "clips.prost", "means.npy", "build.json"
BLOCKS_A_COMMIT = 8
BLOCKS_SAMPLED = 256
CHECKED_CLIPS = 64
CLIP_SECONDS = 12.0
# Bytes of keys, versions and file footers for each clip, and bytes that stay free on the disk.
ROW_OVERHEAD = 200
KEPT_FREE = 2 << 30


@dataclass(frozen=True, kw_only=True)
class Build:
    """Statistics of the build of a generated library.

    Attributes:
        seconds: time for each part: codebooks; clips (generating, coding and writing them); packs.
        bytes: size on disk of each part.
        coding: quality of the codes.
        codes_a_slot: mean number of different codes over the frames of a slot.
        centroids: numbers of centroids for object prototypes and for events.
    """

    seconds: dict[str, float]
    bytes: dict[str, int]
    coding: CodingQuality
    codes_a_slot: float
    centroids: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class GeneratedLibrary:
    """A generated library on disk and the statistics of its build."""

    folder: Path
    build: Build

    def store(self) -> Store:
        """Open its tables."""
        return Store.open(str(self.folder / TABLES))

    def packs(self) -> PackFolder:
        """Open its packs."""
        return pack_folder(self.store())

    def snapshot(self) -> ClipSnapshot:
        """A snapshot of its clips that keeps no prototypes in memory."""
        return ClipSnapshot(self.store(), memory=0)

    def means(self) -> NDArray[np.float32]:
        """Mean class token of each clip `[n, D]`, memory-mapped."""
        return np.load(self.folder / MEANS, mmap_mode="r")


def needed_bytes(clips: int, sizes: PrototypeSizes) -> int:
    """Upper bound of the size of a generated library on disk, in bytes, also while it is written."""
    slots = sizes.frames * sizes.objects
    row = slots * (sizes.width + 4) + sizes.events * (4 * sizes.width + 4 * sizes.frames) + 8 * sizes.frames
    scanned = 2 * slots + 8 + sizes.events * (sizes.width + 6)
    return clips * (row + ROW_OVERHEAD + scanned + 4 * sizes.width)


def expect_room(folder: Path, needed: int) -> int:
    """Free bytes on the disk where a library is to be written.

    Raises:
        StorageError: fewer than `needed` plus `KEPT_FREE`.
    """
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if needed + KEPT_FREE > free:
        raise StorageError(
            f"the clips take {format_bytes(needed)} in {folder}, where {format_bytes(free)} are free",
            f"{format_bytes(needed + KEPT_FREE)} of free space",
            "fewer --clips, or --work on another disk",
        )
    return free


def library_folder(work: Path, made_by: Description, clips: int) -> Path:
    """Folder of a generated library."""
    return work / f"library-{made_by.model}-{made_by.fingerprint[:12]}-{clips}"


def open_library(folder: Path, made_of: dict[str, Any]) -> GeneratedLibrary | None:
    """Open a library that an earlier run built with the same settings; None if there is none."""
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if notes["made_of"] != made_of:
        return None
    build = notes["build"]
    coding = CodingQuality(**build.pop("coding"))
    centroids = tuple(build.pop("centroids"))
    return GeneratedLibrary(folder=folder, build=Build(**build, coding=coding, centroids=centroids))


def build_library(
    folder: Path,
    made_by: Description,
    generator: Generator,
    clips: int,
    made_of: dict[str, Any],
    progress: Advance,
) -> GeneratedLibrary:
    """Write a library of generated clips and replace what is in the folder.

    Args:
        folder: folder of this library; created with its parents.
        made_by: what the prototypes are.
        generator: generator of the clips.
        clips: number of clips.
        made_of: settings that identify the build, as plain values.
        progress: called after each block of clips.

    Raises:
        StorageError: not enough free space.
    """
    sizes = made_by.sizes
    shutil.rmtree(folder, ignore_errors=True)
    expect_room(folder, needed_bytes(clips, sizes))
    folder.mkdir(parents=True)
    store = Store.create(str(folder / TABLES), made_by)
    seconds = {}

    start = time.perf_counter()
    progress(0, clips, "training codebooks")
    books = _train(generator, clips)
    encoder = BlockEncoder(generator, books.object)
    quality = encoder.quality(generator.block(0, min(CHECKED_CLIPS, clips)))
    seconds["codebooks"] = time.perf_counter() - start

    start = time.perf_counter()
    stream = _Stream(
        store,
        books,
        np.lib.format.open_memmap(folder / MEANS, mode="w+", dtype=np.float32, shape=(clips, sizes.width)),
    )
    for block in generator.blocks(clips):
        stream.put(block, encoder.encode(block))
        progress(block.first + len(block), clips, "making clips")
    coded, event_error = stream.finish()
    seconds["clips"] = time.perf_counter() - start

    start = time.perf_counter()
    object_error = (1 - quality.cosine + quality.lost_cosine) * sizes.frames * sizes.objects * clips
    _write_packs(store, books, coded, np.array([object_error, event_error]))
    seconds["packs"] = time.perf_counter() - start

    build = Build(
        seconds=seconds,
        bytes=_disk_bytes(store, clips),
        coding=quality,
        codes_a_slot=stream.different / (clips * sizes.objects),
        centroids=(len(books.object), len(books.event)),
    )
    notes = {"made_of": made_of, "build": asdict(build)}
    (folder / NOTES).write_text(json.dumps(notes, indent=2), encoding="utf-8")
    return GeneratedLibrary(folder=folder, build=build)


def _train(generator: Generator, clips: int) -> Codebooks:
    """Train codebooks of the size that a library uses on a sample of its own prototypes."""
    blocks = -(-clips // CLIPS_A_BLOCK)
    chosen = np.unique(np.linspace(0, blocks - 1, min(BLOCKS_SAMPLED, blocks)).astype(int))
    rng = np.random.default_rng(0)
    _, slots, frames, _ = generator.tracks.shape
    books = []
    for part, per_clip in (("object", slots * frames), ("event", generator.events.shape[1])):
        size = codebook_size(clips * per_clip)
        each = -(-SAMPLES_A_CENTROID * size // len(chosen))
        sample = []
        for number in chosen.tolist():
            # As many clips as the sample needs, with a few vectors from each.
            wanted = min(
                clips - number * CLIPS_A_BLOCK, CLIPS_A_BLOCK, max(16, -(-each // min(per_clip, 12)))
            )
            block = generator.block(number, wanted)
            made = (
                generator.materialise(block).object
                if part == "object"
                else generator.materialise_events(block)
            )
            vectors = made.reshape(-1, made.shape[-1])
            sample.append(vectors[rng.choice(len(vectors), min(each, len(vectors)), replace=False)])
        books.append(train_codebook(torch.from_numpy(np.concatenate(sample)), size))
    return Codebooks(*books)


class _Stream:
    """Writes clips to the tables and keeps their codes in memory until the packs are written.

    Attributes:
        different: number of different codes in each slot, summed over the slots so far.
    """

    def __init__(self, store: Store, books: Codebooks, means: NDArray[np.float32]) -> None:
        self._store, self._books, self._means = store, books, means
        self._waiting: list[ClipRows] = []
        self._coded: list[CodedClips] = []
        self._videos: list[VideoRow] = []
        self._event_error = 0.0
        self.different = 0

    def put(self, recipe: ClipBlock, block: EncodedBlock) -> None:
        """Add one block."""
        clips, frames, slots, _ = block.object_codes.shape
        events = block.event.shape[1]
        video = f"generated-{recipe.first:08d}"
        starts: NDArray[np.float64] = np.arange(clips, dtype=np.float64) * CLIP_SECONDS
        times: NDArray[np.float64] = starts[:, None] + sample_times(0.0, CLIP_SECONDS, frames)
        ends: NDArray[np.float64] = starts + CLIP_SECONDS
        self._waiting.append(
            ClipRows(
                content=video,
                first=0,
                start=starts,
                end=ends,
                frame_times=times,
                object_codes=block.object_codes,
                object_scales=block.object_scales,
                event=block.event,
                event_attention=np.full((clips, events, frames), 1 / frames, np.float32),
            )
        )
        self._videos.append(
            VideoRow(
                path=f"/generated/{video}.mp4",
                size=0,
                modified=0,
                added="",
                status="indexed",
                content=video,
                duration=clips * CLIP_SECONDS,
                clips=clips,
            )
        )
        class_tokens = dequantise(block.object_codes[:, :, 0], block.object_scales[:, :, 0])
        self._means[recipe.first : recipe.first + clips] = class_tokens.mean(axis=1)
        self._coded.append(self._code(block))
        ordered = np.sort(block.centroids, axis=1)
        self.different += int((ordered[:, 1:] != ordered[:, :-1]).sum()) + clips * slots
        if len(self._waiting) == BLOCKS_A_COMMIT:
            self._commit()

    def finish(self) -> tuple[CodedClips, float]:
        """Write the remaining clips; returns all coded clips and the sum of the errors of their events."""
        self._commit()
        self._store.put_videos(self._videos)
        return CodedClips.joined(self._coded), self._event_error

    def _commit(self) -> None:
        if self._waiting:
            self._store.append_clips(self._waiting)
            self._waiting.clear()

    def _code(self, block: EncodedBlock) -> CodedClips:
        words, starts = pack_codes(block.centroids)
        codes, cosines = self._books.event.assign(torch.from_numpy(block.event).flatten(0, 1))
        self._event_error += float((1 - cosines.double()).sum())
        event, event_scales = event_directions(block.event)
        return CodedClips(
            words=words,
            starts=starts,
            event_codes=codes.numpy().astype(np.uint16).reshape(block.event.shape[:2]),
            event=event,
            event_scales=event_scales,
            slots=block.object_codes.shape[2],
        )


def _write_packs(store: Store, books: Codebooks, coded: CodedClips, errors: NDArray[np.float64]) -> None:
    """Packs of whole fragments, as many clips in each as a library puts there."""
    folder, table, sizes = pack_folder(store), store.clips(), store.description.sizes
    codebooks = folder.write_codebooks(books)
    names: list[str] = []
    for first, fragments in _groups(table.get_fragments()):
        packed = tuple(
            PackedFragment(file=data_file(each), rows=each.count_rows(), pages=_pages(table.uri, each, sizes))
            for each in fragments
        )
        offsets = np.concatenate([np.arange(each.rows, dtype=np.uint32) for each in packed])
        pack = Pack(
            rows=PackedRows(packed, offsets),
            clips=coded[first : first + len(offsets)],
            errors=errors * (len(offsets) / len(coded)),
        )
        names.append(folder.write_pack(pack, codebooks, table.version, len(names)))
    folder.commit(
        Current(
            fingerprint=store.description.fingerprint,
            codebooks=codebooks,
            clips=len(coded),
            packs=tuple(names),
        )
    )


def _groups(fragments: list[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Yield groups of fragments that share a pack, each with the position of its first clip."""
    first, size = 0, 0
    group: list[Any] = []
    for fragment in fragments:
        if group and size + fragment.count_rows() > PACK_CLIPS:
            yield first, group
            first, size, group = first + size, 0, []
        group.append(fragment)
        size += fragment.count_rows()
    yield first, group


def _pages(uri: str, fragment: Any, sizes: PrototypeSizes) -> dict[str, list[tuple[int, int]]] | None:
    return find_pages(f"{uri}/data/{data_file(fragment)}", fragment.physical_rows, sizes)


def _disk_bytes(store: Store, clips: int) -> dict[str, int]:
    """Size of each part in bytes: columns of prototypes, rest of the tables, packs."""
    sizes = store.description.sizes
    slots = sizes.frames * sizes.objects
    files = sum(file.stat().st_size for file in Path(store.root).glob("*.lance/**/*") if file.is_file())
    rows = {
        "object prototypes, 8 bits": clips * slots * sizes.width,
        "object scales": clips * slots * 4,
        "event prototypes": clips * sizes.events * sizes.width * 4,
    }
    return {
        **rows,
        "rest of the tables": files - sum(rows.values()),
        **{f"packs: {part}": size for part, size in pack_folder(store).nbytes().items()},
    }
