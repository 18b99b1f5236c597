"""Other ways to find the best clips: exact scores of all clips, and indexes with the same rerank."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.exact_answers import ExactAnswers
from prost.bench.generator import CLIPS_A_BLOCK, Generator
from prost.bench.library import GeneratedLibrary
from prost.bench.measure import CurvePoint, curve
from prost.errors import UsageError
from prost.model.matching import TextPrototypes, event_sentence_score
from prost.model.object_phrase import object_phrase_score
from prost.model.tiles import bfloat16_is_faster
from prost.model.vectors import unit
from prost.progress import Advance
from prost.search.codes import CodedClips, event_directions
from prost.search.event_index import HNSW, IVF_PQ, WATCHED, EventIndex
from prost.search.shortlist import open_packs

EVENT_HNSW, EVENT_IVF_PQ, MEAN_HNSW = "event-hnsw", "event-ivfpq", "mean-hnsw"
RIVALS = {
    EVENT_HNSW: "HNSW over event prototypes, rerank",
    EVENT_IVF_PQ: "IVF-PQ over event prototypes, rerank",
    MEAN_HNSW: "HNSW over mean-pooled class tokens, rerank",
}

RESIDENT_BLOCKS = 4
EXACT_QUERIES = 5


@dataclass(frozen=True, kw_only=True)
class Exhaustive:
    """Time of scoring every clip exactly, with the prototypes in memory.

    Attributes:
        ms: median time of a query, scaled up linearly if not all clips fit in memory.
        ms_together: time for each of several queries that are scored together.
        resident: number of clips that were scored.
        scaled: factor by which the time was scaled up.
        dtype: float32, or bfloat16 where the processor is faster with it.
    """

    ms: float
    ms_together: float
    resident: int
    scaled: float
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Rival:
    """An index with the same rerank.

    Attributes:
        name: key in `RIVALS`.
        title: description.
        build_s: build time, seconds.
        bytes: size of the index.
        curve: recall and time for several numbers of candidates.
    """

    name: str
    title: str
    build_s: float
    bytes: int
    curve: list[CurvePoint]


@torch.inference_mode()
def measure_exhaustive(
    generator: Generator, clips: int, text: TextPrototypes, object_phrase_weight: float
) -> Exhaustive:
    """Time the exact formula over all clips.

    Args:
        generator: generator of the clips.
        clips: number of clips in the library.
        text: prototypes of queries, on the CPU.
        object_phrase_weight: from the model's configuration.
    """
    dtype = torch.bfloat16 if bfloat16_is_faster() else torch.float32
    resident = min(clips, RESIDENT_BLOCKS * CLIPS_A_BLOCK)
    made = [generator.materialise(block) for block in generator.blocks(resident)]
    object = torch.from_numpy(np.concatenate([each.object for each in made])).to(dtype)  # [n, N_o, L, D]
    object = object.transpose(1, 2).contiguous()
    event = torch.from_numpy(np.concatenate([each.event for each in made])).to(dtype)
    # The generator's prototypes have length one, or are zero.
    inverse_lengths = object.any(dim=-1).float()
    phrases, sentences = text.phrase.to(dtype), text.sentence.to(dtype)

    def seconds(queries: slice) -> float:
        start = time.perf_counter()
        object_phrase = object_phrase_score(phrases[queries], object, inverse_lengths=inverse_lengths)
        object_phrase_weight * object_phrase + event_sentence_score(sentences[queries], event)
        return time.perf_counter() - start

    count = min(EXACT_QUERIES, len(text))
    alone = float(np.median([seconds(slice(query, query + 1)) for query in range(count)]))
    together = seconds(slice(count)) / count
    scale = clips / resident
    return Exhaustive(
        ms=1000 * alone * scale,
        ms_together=1000 * together * scale,
        resident=resident,
        scaled=scale,
        dtype=str(dtype).removeprefix("torch."),
    )


def measure_rivals(
    library: GeneratedLibrary,
    names: Sequence[str],
    text: TextPrototypes,
    truth: ExactAnswers,
    object_phrase_weight: float,
    progress: Advance,
) -> list[Rival]:
    """Build the indexes, or open those of an earlier run, and measure them.

    Args:
        library: library to index; the rerank reads its rows.
        names: keys in `RIVALS`.
        text: prototypes of Q queries, on the CPU.
        truth: the exact best clips of the queries.
        object_phrase_weight: from the model's configuration.
        progress: called before each step.

    Raises:
        UsageError: an unknown name, or faiss is not installed.
    """
    unknown = sorted(set(names) - set(RIVALS))
    if unknown:
        raise UsageError(f"no rival is called {unknown[0]!r}", ", ".join(RIVALS))
    snapshot, packs = library.snapshot(), open_packs(library.packs())
    assert packs is not None
    read = snapshot.reader(packs.pages).read
    rivals = []
    for number, name in enumerate(names):
        progress(number, len(names), f"{name}: building")
        index, seconds, size = _index(library, name)
        progress(number, len(names), f"{name}: measuring")

        find = functools.partial(_nearest_clips, index, len(snapshot))
        points = curve(text, truth, find, read, object_phrase_weight, len(snapshot))
        rivals.append(Rival(name=name, title=RIVALS[name], build_s=seconds, bytes=size, curve=points))
    return rivals


def _nearest_clips(index: Any, clips: int, text: TextPrototypes, count: int) -> NDArray[np.int64]:
    """The clips of the vectors nearest to a sentence, best first, at most `count`."""
    vectors = index.ntotal // clips
    wanted = min(count * vectors, index.ntotal)
    if hasattr(index, "hnsw"):
        # HNSW must track at least as many nodes as it returns.
        index.hnsw.efSearch = max(WATCHED, wanted)
    _, found = index.search(unit(text.sentence).numpy(), wanted)
    rows = found[0][found[0] >= 0] // vectors
    _, first = np.unique(rows, return_index=True)
    return rows[np.sort(first)][:count]


def _index(library: GeneratedLibrary, name: str) -> tuple[Any, float, int]:
    """A faiss index built as in a library, its build time in seconds and its bytes; cached beside the library."""
    file, notes = library.folder / f"{name}.npy", library.folder / f"{name}.json"
    if not notes.is_file():
        clips = _mean_clips(library) if name == MEAN_HNSW else _event_clips(library)
        start = time.perf_counter()
        index = EventIndex.build(IVF_PQ if name == EVENT_IVF_PQ else HNSW, clips)
        seconds = time.perf_counter() - start
        np.save(file, index.to_bytes())
        notes.write_text(json.dumps({"seconds": seconds}))
    import faiss

    data = np.load(file)
    return faiss.deserialize_index(data), json.loads(notes.read_text())["seconds"], data.nbytes


def _event_clips(library: GeneratedLibrary) -> list[CodedClips]:
    packs = open_packs(library.packs())
    assert packs is not None
    return [pack.clips for pack in packs.packs]


def _mean_clips(library: GeneratedLibrary) -> list[CodedClips]:
    """The clips as in a model that pools: one event, the mean class token."""
    means = np.array(library.means())
    event, event_scales = event_directions(means[:, None])
    return [
        CodedClips(
            words=np.empty(0, np.uint64),
            starts=np.zeros(len(means) + 1, np.int64),
            event_codes=np.zeros((len(means), 1), np.uint16),
            event=event,
            event_scales=event_scales,
            slots=0,
        )
    ]
