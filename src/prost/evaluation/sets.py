"""Evaluation sets: clips, captions, and which clip each caption belongs to; from Toybox or from a benchmark."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from prost.config import StrictConfig
from prost.data.benchmarks import BENCHMARK_NAMES, load_benchmark
from prost.data.clip_sets import ClipSet, RecordClips, ToyboxClipSet
from prost.data.records import Benchmark, VideoRecord, captions_of, complete_split, gallery_size
from prost.data.toybox import (
    GALLERY_NAME,
    LONG_GALLERY_NAME,
    Caption,
    Gallery,
    LongGallery,
    Scene,
    describe,
    gallery,
    is_changed_by_reversal,
    long_gallery,
    read_captions,
    scene_stream,
)
from prost.data.video_reading import Sampling
from prost.errors import MissingPath, UsageError
from prost.model.tokenizer import says_nothing

SAMPLING_TITLES: dict[Sampling, str] = {
    "middles": "the middles of L equal parts",
    "authors": "one frame a second, then evenly down to L, the last repeated where a video has fewer (the authors' "
    "code pads with grey)",
}
DECODERS = 2
"""Decoding processes of an evaluation."""

# The bank's scenes and captions belong to no gallery, and to no training that a recipe describes.
_BANK_SEED = 0x62616E6B


def _no_clips() -> ClipSet:
    return ToyboxClipSet([], description="no clips")


@dataclass(frozen=True, eq=False, kw_only=True)
class BankSet:
    """Training captions and videos for the post-processing that needs earlier queries.

    Attributes:
        captions: each is scored against the gallery's videos.
        clips: each is scored against the gallery's captions.
    """

    captions: tuple[str, ...] = ()
    clips: ClipSet = field(default_factory=_no_clips)


@dataclass(frozen=True, eq=False, kw_only=True)
class ReversedSet:
    """Videos played backwards, each for a caption of the set that is then false.

    Attributes:
        captions: positions of the captions in the set; each is true of its video, and false of that video backwards.
        clips: the videos of these captions, backwards.
    """

    captions: tuple[int, ...] = ()
    clips: ClipSet = field(default_factory=_no_clips)


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationSet:
    """Videos and captions to rank.

    Attributes:
        name: name of the benchmark or gallery.
        split: its split.
        videos: V ids.
        captions: C queries.
        video_of_caption: the position of each caption's video `[C]`.
        clips: the videos, in the order of `videos`.
        sampling: which frames of a video the model sees, in words.
        published_videos: published number of videos; None where there is none.
        paper_frames: L of the paper's setting; None where there is none.
        paper_max_words: words of a text in the paper's setting.
        twin: for each video the position of its order-swapped twin, or None; empty where there are no twins.
        order_blind_ceiling: R@1 in percent of a perfect model that is blind to order.
        notes: what is printed with every number.
        bank: earlier queries.
        reversed: videos played backwards, as distractors that differ in the order of frames alone.
        source_of_video: for clips of long videos, the long video of each `[V]`: the clips of one are found or missed
            together, so the bootstrap draws the long videos. None where each video is one of its own.
    """

    name: str
    split: str
    videos: tuple[str, ...]
    captions: tuple[str, ...]
    video_of_caption: NDArray[np.int64]
    clips: ClipSet
    sampling: str = SAMPLING_TITLES["middles"]
    published_videos: int | None = None
    paper_frames: int | None = None
    paper_max_words: int | None = None
    twin: tuple[int | None, ...] = ()
    order_blind_ceiling: float | None = None
    notes: tuple[str, ...] = ()
    bank: BankSet = field(default_factory=BankSet)
    reversed: ReversedSet = field(default_factory=ReversedSet)
    source_of_video: NDArray[np.int64] | None = None

    @property
    def digest(self) -> str:
        """Digest of the ids, the captions and their order: reports that share it can be compared query by query."""
        return _digest(self.name, self.split, self.videos, self.captions, self.video_of_caption.tolist())

    @property
    def content_digest(self) -> str:
        """Digest of all that scores depend on: `digest`, the files themselves, and the bank."""
        return _digest(self.digest, self.clips.description, self.bank.captions, self.bank.clips.description)


def _digest(*parts: object) -> str:
    digest = hashlib.blake2b(digest_size=12)
    for part in parts:
        digest.update(json.dumps(part).encode())
    return digest.hexdigest()


def gallery_set(
    scenes: Gallery,
    *,
    bank_captions: int = 0,
    bank_videos: int = 0,
    reversed_videos: int = 0,
    split: str = "test",
    workers: int = 0,
) -> EvaluationSet:
    """A gallery of Toybox, rendered when it is read; each video has one query.

    Args:
        scenes: the gallery.
        bank_captions: number of captions in the bank; they describe scenes of the train split that no training draws.
        bank_videos: number of those scenes that are rendered as the bank's videos.
        reversed_videos: largest number of videos that are also shown backwards.
        split: the split of the gallery.
        workers: processes that render; 0 renders in this one.
    """
    count = len(scenes)
    clips = ToyboxClipSet.of_gallery(scenes, split, workers)
    return EvaluationSet(
        name=scenes.name,
        split=split,
        videos=tuple(f"{scenes.name}-{place}" for place in range(count)),
        captions=tuple(query.text for query in scenes.queries),
        video_of_caption=np.arange(count),
        clips=clips,
        twin=scenes.twin,
        order_blind_ceiling=scenes.order_blind_ceiling(),
        bank=_toybox_bank(bank_captions, bank_videos),
        reversed=_reversed(scenes.queries, scenes.scenes, clips, reversed_videos),
    )


def long_gallery_set(
    excerpts: LongGallery,
    *,
    bank_captions: int = 0,
    bank_videos: int = 0,
    reversed_videos: int = 0,
    split: str = "test",
    workers: int = 0,
) -> EvaluationSet:
    """Clips of long Toybox videos, rendered when they are read; each clip has one query.

    Args:
        excerpts: the gallery.
        bank_captions: see `gallery_set`.
        bank_videos: see `gallery_set`.
        reversed_videos: see `gallery_set`.
        split: the split of the gallery.
        workers: processes that render; 0 renders in this one.
    """
    count = len(excerpts)
    clips = ToyboxClipSet.of_long_gallery(excerpts, split, workers)
    stories = [excerpt.story() for excerpt in excerpts.excerpts]
    return EvaluationSet(
        name=excerpts.name,
        split=split,
        videos=tuple(f"{excerpts.name}-{place}" for place in range(count)),
        captions=tuple(query.text for query in excerpts.queries),
        video_of_caption=np.arange(count),
        clips=clips,
        notes=(
            f"{count:,} clips of {excerpts.videos:,} long videos; the clips of a video show the same things, so the "
            "bootstrap draws the long videos",
        ),
        bank=_toybox_bank(bank_captions, bank_videos),
        reversed=_reversed(excerpts.queries, stories, clips, reversed_videos),
        source_of_video=excerpts.video_of_clip,
    )


def folder_set(folder: Path, *, bank_captions: int = 0, bank_videos: int = 0) -> EvaluationSet:
    """A folder of `prost toybox`: the query of a video is its first caption, which is true of no other video.

    Args:
        folder: contains `captions.jsonl`.
        bank_captions: see `gallery_set`.
        bank_videos: see `gallery_set`.

    Raises:
        MissingPath: no `captions.jsonl`, or a video that it names does not exist.
        BadAnnotations: a line cannot be read.
    """
    rows = read_captions(folder)
    names = [row["video"] for row in rows]
    records = [VideoRecord(row["video"], folder / row["video"], (row["captions"][0],)) for row in rows]
    return EvaluationSet(
        name=str(folder),
        split=str(rows[0].get("split", "test")),
        videos=tuple(names),
        captions=tuple(row["captions"][0] for row in rows),
        video_of_caption=np.arange(len(rows)),
        clips=RecordClips(records, workers=DECODERS),
        twin=tuple(names.index(row["twin"]) if row.get("twin") in names else None for row in rows),
        notes=("the query of a video is the first of its captions",),
        bank=_toybox_bank(bank_captions, bank_videos),
    )


def records_set(
    records: Sequence[VideoRecord],
    *,
    name: str,
    split: str,
    sampling: Sampling = "middles",
    workers: int = DECODERS,
    published_videos: int | None = None,
    paper_frames: int | None = None,
    paper_max_words: int | None = None,
    notes: tuple[str, ...] = (),
    bank: BankSet | None = None,
) -> EvaluationSet:
    """Records whose files exist: every caption is a query, every video is in the gallery once; see `EvaluationSet`.

    Raises:
        MissingVideos: a record without a file.
        UsageError: ids that repeat.
    """
    captions, video_of_caption = captions_of(records)
    if empty := [caption for caption in captions if says_nothing(caption)]:
        notes = (
            *notes,
            f"{len(empty)} of {len(captions)} queries consist of stop words only, such as {empty[0]!r}",
        )
    return EvaluationSet(
        name=name,
        split=split,
        videos=tuple(record.video for record in records),
        captions=tuple(captions),
        video_of_caption=video_of_caption,
        clips=RecordClips(records, sampling=sampling, workers=workers),
        sampling=SAMPLING_TITLES[sampling],
        published_videos=published_videos,
        paper_frames=paper_frames,
        paper_max_words=paper_max_words,
        notes=notes,
        bank=bank or BankSet(),
        source_of_video=_files_of(records),
    )


def _files_of(records: Sequence[VideoRecord]) -> NDArray[np.int64] | None:
    """The number of each record's file; None where each record has a file of its own."""
    numbers: dict[str, int] = {}
    files = [numbers.setdefault(record.file, len(numbers)) for record in records]
    return np.array(files, dtype=np.int64) if len(numbers) < len(records) else None


def benchmark_set(
    benchmark: Benchmark,
    *,
    split: str = "test",
    sampling: Sampling = "middles",
    allow_missing: bool = False,
    bank_captions: int = 0,
    bank_videos: int = 0,
    seed: int = 0,
) -> EvaluationSet:
    """A split of a benchmark: every caption is a query, every video is in the gallery once.

    Args:
        benchmark: from `load_benchmark`.
        split: one of its splits.
        sampling: how frames are chosen.
        allow_missing: continue although videos are missing; the size of the gallery is printed with every number.
        bank_captions: largest number of captions of the train split in the bank.
        bank_videos: largest number of its videos.
        seed: of the choice of the bank.

    Raises:
        UsageError: no such split.
        MissingVideos: videos are missing, and `allow_missing` is false.
        NoVideos: all videos are missing.
    """
    records = complete_split(benchmark, split, allow_missing)
    expected = benchmark.expected.get(split) or len(benchmark.split(split))
    notes = benchmark.notes
    if len(records) != expected:
        notes = (*notes, f"not the published gallery: {gallery_size(benchmark, split)}")
    return records_set(
        records,
        name=benchmark.name,
        split=split,
        sampling=sampling,
        published_videos=expected,
        paper_frames=benchmark.frames,
        paper_max_words=benchmark.max_words,
        notes=notes,
        bank=_training_bank(benchmark, sampling, bank_captions, bank_videos, seed),
    )


class SetConfig(StrictConfig):
    """The name and the options of an evaluation set, for the command line and for grids.

    Attributes:
        name: a gallery of Toybox, a folder that `prost toybox` wrote, or a benchmark.
        folder: the benchmark's annotations.
        videos: the benchmark's videos; None for the same folder.
        split: the split.
        sampling: how frames of a benchmark's video are chosen.
        allow_missing: continue although videos are missing.
        bank: number of training captions for the post-processing that needs earlier queries, text to video.
        bank_videos: number of training videos for the same, video to text.
        seed: of the choice of the bank.
    """

    name: str = "toybox-1k"
    folder: Path | None = None
    videos: Path | None = None
    split: Literal["train", "val", "test"] = "test"
    sampling: Sampling = "middles"
    allow_missing: bool = False
    bank: int = Field(1000, ge=0)
    bank_videos: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)


def open_set(config: SetConfig, *, reversed_videos: int = 0) -> EvaluationSet:
    """Open the set that a configuration names.

    A name wins over a folder of the same name, as it does for models; `./toybox-1k` means the folder.

    Args:
        config: the name and the options.
        reversed_videos: largest number of videos that are also shown backwards; only galleries of Toybox have any,
            because only a scene tells which sentences reversal makes false.

    Raises:
        MissingPath: no such gallery, folder or benchmark, or files that do not exist.
        UsageError: a benchmark without its folder, or without the split or some videos.
    """
    if config.name in BENCHMARK_NAMES:
        if config.folder is None:
            raise UsageError(f"{config.name} without its annotations", suggestion="--folder FOLDER")
        return benchmark_set(
            load_benchmark(config.name, config.folder, config.videos),
            split=config.split,
            sampling=config.sampling,
            allow_missing=config.allow_missing,
            bank_captions=config.bank,
            bank_videos=config.bank_videos,
            seed=config.seed,
        )
    bank = {"bank_captions": config.bank, "bank_videos": config.bank_videos}
    options = {**bank, "reversed_videos": reversed_videos}
    if re.fullmatch(GALLERY_NAME, config.name):
        return gallery_set(gallery(config.name, config.split), split=config.split, **options)
    if re.fullmatch(LONG_GALLERY_NAME, config.name):
        return long_gallery_set(long_gallery(config.name, config.split), split=config.split, **options)
    if Path(config.name).is_dir():
        return folder_set(Path(config.name), **bank)
    raise MissingPath(
        f"{config.name} is neither a gallery nor a folder nor a benchmark",
        f"toybox-1k, toybox-200, toybox-long-500, a folder of `prost toybox`, {', '.join(BENCHMARK_NAMES)}",
    )


def _toybox_bank(captions: int, videos: int) -> BankSet:
    """Scenes of the train split that no training draws."""
    scenes = tuple(islice(scene_stream("train", _BANK_SEED), max(captions, videos)))
    rng = np.random.default_rng(_BANK_SEED)
    return BankSet(
        captions=tuple(describe(scene, rng).text for scene in scenes[:captions]),
        clips=ToyboxClipSet.of_scenes(scenes[:videos], f"toybox bank of {videos}"),
    )


def _reversed(
    queries: Sequence[Caption], stories: Sequence[Scene], clips: ToyboxClipSet, most: int
) -> ReversedSet:
    """The first videos whose query is false when they are played backwards; symmetric stories are left out."""
    changed = (
        place
        for place, (query, story) in enumerate(zip(queries, stories, strict=True))
        if is_changed_by_reversal(query, story)
    )
    places = tuple(islice(changed, most))
    return ReversedSet(
        captions=places,
        clips=ToyboxClipSet(
            [replace(clips.clips[place], backwards=True) for place in places],
            description=json.dumps([clips.description, "backwards", places]),
        ),
    )


def _training_bank(
    benchmark: Benchmark, sampling: Sampling, captions: int, videos: int, seed: int
) -> BankSet:
    """Random captions and videos of the train split; fewer where it has fewer."""
    train = benchmark.splits.get("train", ())
    rng = np.random.default_rng(seed)
    all_captions, _ = captions_of(train)
    present = [record for record in train if record.path is not None]
    chosen_captions = np.sort(rng.permutation(len(all_captions))[:captions])
    chosen_videos = np.sort(rng.permutation(len(present))[:videos])
    return BankSet(
        captions=tuple(all_captions[place] for place in chosen_captions),
        clips=RecordClips([present[place] for place in chosen_videos], sampling=sampling, workers=DECODERS),
    )
