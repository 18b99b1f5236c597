"""What is evaluated on: videos in order, captions, whose caption each is; from Toybox or from a benchmark's records."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from prost.config import StrictConfig
from prost.data.benchmarks import BENCHMARK_NAMES, load_benchmark
from prost.data.records import Benchmark, VideoRecord, captions_of, complete_split, gallery_size
from prost.data.toybox import CAPTIONS_FILE, Gallery, Scene, describe, gallery, render, scene_stream
from prost.data.video_reading import Sampling, read_videos
from prost.errors import BadConfig, MissingPath, UsageError
from prost.model.tokenizer import says_nothing
from prost.video.sampling import sample_times

SAMPLING_TITLES: dict[Sampling, str] = {
    "middles": "the middles of L equal parts",
    "authors": "one frame a second, then evenly down to L, the last repeated where a video has fewer (the authors' "
    "code pads with grey)",
}
# L and R in; the videos' pixels out, in order, each uint8 `[L, R, R, 3]`.
Reader = Callable[[int, int], Iterator[np.ndarray]]
# Processes that decode ahead of the model.
DECODERS = 2
# The bank's scenes and captions are no part of any gallery, and of no training that a recipe draws.
_BANK_SEED = 0x62616E6B


@dataclass(frozen=True, eq=False)
class BankSet:
    """Training captions and videos for the post-processing that needs earlier queries.

    Attributes:
        captions: each is scored against the gallery's videos.
        videos: how many `read` gives; each is scored against the gallery's captions.
        read: their pixels.
    """

    captions: tuple[str, ...] = ()
    videos: int = 0
    read: Reader = field(default=lambda frames, size: iter(()))


@dataclass(frozen=True, eq=False)
class EvaluationSet:
    """Videos and captions to rank.

    Attributes:
        name: of the benchmark or gallery.
        split: which part of it.
        videos: ids, in the order of `read`.
        captions: the queries.
        video_of_caption: position of each caption's video `[C]`.
        read: the videos' pixels.
        sampling: which frames those are, in words.
        published_videos: how many there should be; None where nobody published a number.
        paper_frames: L of the paper's setting; None where there is none.
        paper_max_words: words of a text in the paper's setting.
        twin: for each video the position of its order-swapped twin, or None; empty where there are no twins.
        order_blind_ceiling: R@1 in percent of a perfect model that is blind to order.
        notes: what has to be printed with every number.
        bank: earlier queries.
    """

    name: str
    split: str
    videos: tuple[str, ...]
    captions: tuple[str, ...]
    video_of_caption: NDArray[np.int64]
    read: Reader
    sampling: str = SAMPLING_TITLES["middles"]
    published_videos: int | None = None
    paper_frames: int | None = None
    paper_max_words: int | None = None
    twin: tuple[int | None, ...] = ()
    order_blind_ceiling: float | None = None
    notes: tuple[str, ...] = ()
    bank: BankSet = field(default_factory=BankSet)

    @property
    def digest(self) -> str:
        """What two reports must share so that their queries can be compared one by one."""
        digest = hashlib.blake2b(digest_size=12)
        for part in (self.name, self.split, self.videos, self.captions, self.video_of_caption.tolist()):
            digest.update(json.dumps(part).encode())
        return digest.hexdigest()


def gallery_set(
    scenes: Gallery, bank_captions: int = 0, bank_videos: int = 0, split: str = "test"
) -> EvaluationSet:
    """A gallery of Toybox, rendered when read.

    Args:
        scenes: one query each.
        bank_captions: how many scenes of the train split, outside every training, tell the bank's captions.
        bank_videos: how many of them are rendered as the bank's videos.
        split: which the gallery is of.
    """
    count = len(scenes)
    return EvaluationSet(
        scenes.name,
        split,
        tuple(f"{scenes.name}-{place}" for place in range(count)),
        tuple(query.text for query in scenes.queries),
        np.arange(count),
        partial(_render, scenes.scenes),
        twin=scenes.twin,
        order_blind_ceiling=scenes.order_blind_ceiling(),
        bank=_toybox_bank(bank_captions, bank_videos),
    )


def folder_set(folder: Path, bank_captions: int = 0, bank_videos: int = 0) -> EvaluationSet:
    """A folder that `prost toybox` wrote: the first caption of each video, true of it alone, is its query.

    Args:
        folder: with `captions.jsonl`.
        bank_captions: see `gallery_set`.
        bank_videos: likewise.

    Raises:
        MissingPath: no `captions.jsonl`, or a video that it names is not there.
        BadConfig: a line that cannot be read.
    """
    rows = read_captions(folder)
    names = [row["video"] for row in rows]
    records = [VideoRecord(row["video"], folder / row["video"], (row["captions"][0],)) for row in rows]
    return EvaluationSet(
        str(folder),
        str(rows[0].get("split", "test")),
        tuple(names),
        tuple(row["captions"][0] for row in rows),
        np.arange(len(rows)),
        partial(read_pixels, records),
        twin=tuple(names.index(row["twin"]) if row.get("twin") in names else None for row in rows),
        notes=("of several captions of a video the first is its query",),
        bank=_toybox_bank(bank_captions, bank_videos),
    )


def benchmark_set(
    benchmark: Benchmark,
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
        split: one that it has.
        sampling: which frames of a video are seen.
        allow_missing: go on where videos are missing; the gallery's size then says so with every number.
        bank_captions: how many captions of the train split the bank takes at most.
        bank_videos: how many of its videos.
        seed: of the bank's choice.

    Raises:
        UsageError: no such split.
        MissingVideos: videos are missing, and to go on was not allowed.
        NoVideos: not one is there.
    """
    records = complete_split(benchmark, split, allow_missing)
    captions, video_of_caption = captions_of(records)
    expected = benchmark.expected.get(split) or len(benchmark.split(split))
    notes = benchmark.notes
    if len(records) != expected:
        notes = (*notes, f"not the published gallery: {gallery_size(benchmark, split)}")
    if empty := [caption for caption in captions if says_nothing(caption)]:
        notes = (
            *notes,
            f"{len(empty)} of {len(captions)} queries hold only stop words, such as {empty[0]!r}",
        )
    return EvaluationSet(
        benchmark.name,
        split,
        tuple(record.video for record in records),
        tuple(captions),
        video_of_caption,
        partial(read_pixels, records, sampling=sampling),
        SAMPLING_TITLES[sampling],
        expected,
        benchmark.frames,
        benchmark.max_words,
        notes=notes,
        bank=_training_bank(benchmark, sampling, bank_captions, bank_videos, seed),
    )


def read_pixels(
    records: Sequence[VideoRecord], frames: int, size: int, sampling: Sampling = "middles"
) -> Iterator[np.ndarray]:
    """Decode records in order; a file that cannot be shown ends it, since a gallery may not shrink in silence.

    Args:
        records: whose files are there.
        frames: L.
        size: R.
        sampling: which frames.

    Yields:
        uint8 `[L, R, R, 3]`.

    Raises:
        VideoError: a file that cannot be shown.
    """
    for reading in read_videos(records, frames, size, sampling, workers=DECODERS):
        if reading.failure is not None:
            raise reading.failure
        assert reading.pixels is not None
        yield reading.pixels


def read_captions(folder: Path) -> list[dict[str, Any]]:
    """Read `captions.jsonl`, one video a line, as `prost toybox` writes it.

    Raises:
        MissingPath: there is none, or a video that it names is not there.
        BadConfig: a line that cannot be read, or no line.
    """
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        raise MissingPath(f"{folder} holds no {CAPTIONS_FILE}", "a folder that `prost toybox` wrote")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            row["video"], row["captions"][0]
        except (json.JSONDecodeError, KeyError, IndexError, TypeError):
            raise BadConfig(
                f"{path}, line {number} is no captioned video", '{"video": ..., "captions": [...]}'
            ) from None
        if not (folder / row["video"]).is_file():
            raise MissingPath(
                f"{folder / row['video']}, named in {path}, is missing", suggestion="write the folder anew"
            )
        rows.append(row)
    if not rows:
        raise BadConfig(f"{path} is empty", "one captioned video a line")
    return rows


class SetConfig(StrictConfig):
    """What to evaluate on, as the command line and grids name it.

    Attributes:
        name: a gallery of Toybox, a folder that `prost toybox` wrote, or a benchmark.
        folder: of a benchmark's annotations.
        videos: of its videos; None for the same folder.
        split: which part of it.
        sampling: which frames of a benchmark's videos are seen.
        allow_missing: go on where videos are missing.
        bank: training captions for the post-processing that needs earlier queries, text to video.
        bank_videos: training videos for the same, video to text.
        seed: of the bank's choice.
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


def open_set(config: SetConfig) -> EvaluationSet:
    """Find what a configuration names.

    Raises:
        MissingPath: neither a gallery nor a folder nor a benchmark, or files that are not there.
        UsageError: a benchmark without its folder, or one that lacks the split or some videos.
    """
    if config.name in BENCHMARK_NAMES:
        if config.folder is None:
            raise UsageError(f"{config.name} without its annotations", suggestion="--folder FOLDER")
        return benchmark_set(
            load_benchmark(config.name, config.folder, config.videos),
            config.split,
            config.sampling,
            config.allow_missing,
            config.bank,
            config.bank_videos,
            config.seed,
        )
    if Path(config.name).is_dir():
        return folder_set(Path(config.name), config.bank, config.bank_videos)
    if config.name.startswith("toybox-"):
        scenes = gallery(config.name, config.split)
        return gallery_set(scenes, config.bank, config.bank_videos, config.split)
    raise MissingPath(
        f"{config.name} is neither a gallery nor a folder nor a benchmark",
        f"toybox-1k, toybox-200, a folder of `prost toybox`, {', '.join(BENCHMARK_NAMES)}",
    )


def _render(scenes: Sequence[Scene], frames: int, size: int) -> Iterator[np.ndarray]:
    for scene in scenes:
        yield render(scene, sample_times(0.0, scene.duration, frames), size)


def _toybox_bank(captions: int, videos: int) -> BankSet:
    """Scenes of the train split that no training draws."""
    scenes = tuple(islice(scene_stream("train", _BANK_SEED), max(captions, videos)))
    rng = np.random.default_rng(_BANK_SEED)
    told = tuple(describe(scene, rng).text for scene in scenes[:captions])
    return BankSet(told, videos, partial(_render, scenes[:videos]))


def _training_bank(
    benchmark: Benchmark, sampling: Sampling, captions: int, videos: int, seed: int
) -> BankSet:
    """Some captions and videos of the train split, chosen by lot; fewer where it has not so many."""
    train = benchmark.splits.get("train", ())
    rng = np.random.default_rng(seed)
    told, _ = captions_of(train)
    seen = [record for record in train if record.path is not None]
    chosen_captions = np.sort(rng.permutation(len(told))[:captions])
    chosen_videos = np.sort(rng.permutation(len(seen))[:videos])
    return BankSet(
        tuple(told[place] for place in chosen_captions),
        len(chosen_videos),
        partial(read_pixels, [seen[place] for place in chosen_videos], sampling=sampling),
    )
