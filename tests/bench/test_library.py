import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prost.bench.exact_answers import find_exact_answers
from prost.bench.generator import Generator
from prost.bench.library import (
    TABLES,
    GeneratedLibrary,
    build_library,
    expect_room,
    needed_bytes,
    open_library,
)
from prost.bench.measure import curve
from prost.bench.rivals import RIVALS, measure_exhaustive, measure_rivals
from prost.bench.sizes import PrototypeSource
from prost.config import ModelConfig
from prost.errors import StorageError
from prost.model.matching import TextPrototypes
from prost.model.prost import ProST
from prost.search.description import Description
from prost.search.quantise import dequantise
from prost.search.rerank import rerank
from prost.search.shortlist import open_packs

from .conftest import EVENTS, FRAMES, SLOTS, WIDTH, nothing

CLIPS = 1100
MADE_OF = {"clips": CLIPS}


@pytest.fixture(scope="module")
def made_by() -> Description:
    """Of a model with the sizes of the drawn prototypes; its weights do not matter."""
    config = {
        "clip": {
            "image_size": 16,
            "patch_size": 16,
            "vision_width": 64,
            "vision_layers": 1,
            "text_width": 64,
        },
        "width": WIDTH,
        "frames": FRAMES,
        "object_prototypes": SLOTS,
        "event_prototypes": EVENTS,
        "token_shift_blocks": [],
    }
    return PrototypeSource(model=ProST(ModelConfig.parse(config)).eval()).description


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, made_by: Description, generator: Generator
) -> GeneratedLibrary:
    return build_library(
        tmp_path_factory.mktemp("bench") / "made", made_by, generator, CLIPS, MADE_OF, nothing
    )


def parts(library: GeneratedLibrary) -> tuple[Any, Any]:
    """What chooses candidates, and what reads rows."""
    snapshot, packs = library.snapshot(), open_packs(library.packs())
    assert packs is not None
    return packs.shortlist(snapshot.rows, "scan"), snapshot.reader(packs.pages)


def test_a_generated_library_finds_the_exact_best(
    library: GeneratedLibrary, generator: Generator, text: TextPrototypes
) -> None:
    truth = find_exact_answers(generator, CLIPS, text, 1.5, 10, nothing)
    shortlist, reader = parts(library)
    found = []
    for query in range(len(text)):
        one = text[query : query + 1]
        ranking = rerank(one, shortlist.find(one, 1.5, 500, None), reader.read, 1.5, 10)
        found.append(ranking.rows[:10])
        np.testing.assert_allclose(ranking.scores.total[:10], truth.scores[query], atol=0.02)
    assert truth.recall(found) > 0.9  # 8 bits change the order of clips that score nearly the same


def test_rows_and_means_are_those_of_the_generator(library: GeneratedLibrary, generator: Generator) -> None:
    made = generator.materialise(generator.block(1, 20))
    rows = np.arange(1024, 1044)
    found = parts(library)[1].read(rows)
    lengths = found.inverse_lengths.numpy()
    objects = dequantise(found.object_codes.numpy(), lengths).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(objects, made.object, atol=0.02)
    np.testing.assert_array_equal(found.event.numpy(), made.event)
    np.testing.assert_allclose(library.means()[rows], made.object[:, 0].mean(axis=1), atol=0.02)


def test_a_library_is_opened_again_only_if_it_was_made_of_the_same(library: GeneratedLibrary) -> None:
    assert open_library(library.folder, MADE_OF) == library
    assert open_library(library.folder, {"clips": CLIPS, "seed": 1}) is None
    assert open_library(library.folder / "elsewhere", MADE_OF) is None


def test_a_build_tells_what_is_on_the_disk(library: GeneratedLibrary, made_by: Description) -> None:
    tables = (library.folder / TABLES).rglob("*")
    files = sum(file.stat().st_size for file in tables if file.is_file())
    told = sum(library.build.bytes.values())
    assert told < files < 1.1 * told
    # Centroids and checksums do not grow with the library; rows do.
    assert files < needed_bytes(CLIPS, made_by.sizes) + 2_000_000
    assert 1 <= library.build.codes_a_slot <= FRAMES
    json.dumps(library.build.bytes)


def test_too_little_room_is_one_clear_line(
    tmp_path: Path, made_by: Description, generator: Generator
) -> None:
    needed = needed_bytes(10**15, made_by.sizes)
    with pytest.raises(
        StorageError, match=r"the clips take [0-9.]+ [kMGT]B in .*[kMGT]B are free; expected: .*fewer --clips"
    ):
        expect_room(tmp_path / "not" / "there", needed)
    assert expect_room(tmp_path / "not" / "there", 0) > 0
    with pytest.raises(StorageError):
        build_library(tmp_path / "made", made_by, generator, 10**15, {}, nothing)
    assert not (tmp_path / "made").exists()


def test_curves_rise_with_the_number_of_candidates(
    library: GeneratedLibrary, generator: Generator, text: TextPrototypes
) -> None:
    truth = find_exact_answers(generator, CLIPS, text, 1.5, 10, nothing)
    shortlist, reader = parts(library)
    points = curve(
        text, truth, lambda one, count: shortlist.find(one, 1.5, count, None).rows, reader.read, 1.5, CLIPS
    )
    assert [point.depth for point in points] == [50, 100, 200, 500, 1000]
    recalls = [point.recall for point in points]
    assert recalls == sorted(recalls)
    assert all(point.ms > 0 for point in points)


def test_rivals_find_through_indexes_that_are_kept(
    library: GeneratedLibrary, generator: Generator, text: TextPrototypes
) -> None:
    pytest.importorskip("faiss")
    truth = find_exact_answers(generator, CLIPS, text, 1.5, 10, nothing)
    rivals = measure_rivals(library, list(RIVALS), text, truth, 1.5, nothing)
    assert [rival.name for rival in rivals] == list(RIVALS)
    for rival in rivals:
        assert rival.bytes > 0
        assert rival.curve[-1].recall >= rival.curve[0].recall
    # Nearly the whole library is scored exactly at a depth of 1,000: what is missed, no index is to blame for.
    assert rivals[0].curve[-1].recall > 0.8
    again = measure_rivals(library, [rivals[0].name], text, truth, 1.5, nothing)[0]
    assert again.build_s == rivals[0].build_s
    assert [point.recall for point in again.curve] == [point.recall for point in rivals[0].curve]


def test_exhaustive_search_says_how_far_it_is_extrapolated(
    generator: Generator, text: TextPrototypes
) -> None:
    small, large = (measure_exhaustive(generator, clips, text, 1.5) for clips in (200, 40960))
    assert (small.resident, small.scaled) == (200, 1.0)
    assert (large.resident, large.scaled) == (4096, 10.0)
    assert min(small.ms, small.ms_together, large.ms) > 0
