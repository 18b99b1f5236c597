"""A library in parts answers as the whole does; parts that are lost are told; a new version is taken up."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import prost.search.background as background
import prost.search.ranking as ranking
from prost.errors import BadFilter, LibraryDamaged, ShardsGone
from prost.search.hits import SearchResult
from prost.search.library import Library
from prost.search.parts import Part
from prost.search.records import PrototypeSizes
from prost.search.request import Request
from prost.search.schema import clip_row_bytes
from prost.search.sharding import LibraryVersion, Shard, ShardAnswer, ShardedRanker, shard_count
from prost.search.store import Store

QUERIES = ("green blue", "no colour")


@dataclass
class ShardsHere:
    """Real shards, in this process; those in `lost` cannot be reached."""

    shards: list[Shard]
    lost: set[int] = field(default_factory=set)
    prepared: list[LibraryVersion] = field(default_factory=list)

    @classmethod
    def of(cls, count: int, memory: int = 1 << 30) -> ShardsHere:
        return cls([Shard(Part(number=number, count=count), memory) for number in range(count)])

    @property
    def count(self) -> int:
        return len(self.shards)

    def prepare(self, version: LibraryVersion) -> None:
        for number, shard in enumerate(self.shards):
            if number not in self.lost:
                shard.prepare(version)
        self.prepared.append(version)

    def rank(self, request: Request, version: LibraryVersion) -> Sequence[ShardAnswer | None]:
        return [
            None if number in self.lost else shard.rank(request, version)
            for number, shard in enumerate(self.shards)
        ]


@pytest.fixture
def parted(
    filled: Library, fill_store: Callable[..., None], model: Any, monkeypatch: pytest.MonkeyPatch
) -> Library:
    """The library of 120 videos in three fragments, with more fragments, a video of 30 clips, and deletions.

    Compaction leaves several fragments, too.
    """
    monkeypatch.setattr(
        "prost.search.store.FRAGMENT_BYTES", 40 * clip_row_bytes(Store.open(filled.path).description.sizes)
    )
    for first in range(200, 260, 10):
        fill_store(Store.open(filled.path), first, 10)
    fill_store(Store.open(filled.path), 300, 1, clips=30)
    filled.remove("/videos/content00041.mp4")
    return Library(filled.path, model)


def rounded(value: Any) -> Any:
    """Numbers to five digits."""
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


def told(result: SearchResult) -> Any:
    """All that a search says, with its numbers to five digits."""
    confidence = None if result.confidence is None else rounded(result.confidence.as_dict())
    return [rounded(hit.as_dict()) for hit in result], result.notes, confidence, result.searched


def parts_of(library: Library, model: Any, count: int, **choices: Any) -> tuple[Library, ShardsHere]:
    """The same library, searched by shards."""
    other, shards = Library(library.path, model), ShardsHere.of(count, **choices)
    other.search_through(shards)
    return other, shards


class TestAnswers:
    """Any number of shards answers as one process does."""

    @pytest.mark.parametrize("coarse", ["exact", "scan"])
    @pytest.mark.parametrize("count", [3])
    def test_hits_scores_order_and_confidence_are_the_same(
        self, parted: Library, model: Any, coarse: str, count: int
    ) -> None:
        parted.optimize()
        with parts_of(parted, model, count)[0] as sharded:
            for query in QUERIES:
                for choices in (
                    {"limit": 500},
                    {"where": "duration > 30 AND duration < 210", "limit": 7},
                    {"per_video": 1, "all_duplicates": True},
                ):
                    asked: dict[str, Any] = {"coarse": coarse, "recall": 1.0, **choices}
                    assert told(sharded.search(query, **asked)) == told(parted.search(query, **asked))

    @settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        count=st.integers(1, 12),
        limit=st.integers(1, 40),
        per_video=st.integers(1, 4),
        low=st.integers(0, 250),
        words=st.lists(st.sampled_from(["red", "green", "blue", "cyan"]), min_size=1, max_size=3),
        in_memory=st.booleans(),
    )
    def test_any_split_and_any_question(
        self,
        parted: Library,
        model: Any,
        count: int,
        limit: int,
        per_video: int,
        low: int,
        words: list[str],
        in_memory: bool,
    ) -> None:
        with parts_of(parted, model, count, memory=in_memory << 30)[0] as sharded:
            asked: dict[str, Any] = {"limit": limit, "per_video": per_video, "where": f"duration >= {low}"}
            query = " ".join(words)
            assert told(sharded.search(query, **asked)) == told(parted.search(query, **asked))

    def test_the_size_of_the_whole_library_decides_whether_it_is_scanned(
        self, parted: Library, model: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (ranking, background):
            monkeypatch.setattr(module, "SCAN_FROM", 200)
        parted.optimize()
        seen = []
        monkeypatch.setattr(
            ranking, "_rankings", lambda *given, work=ranking._rankings: seen.append(given[1]) or work(*given)
        )
        with parts_of(parted, model, 4)[0] as sharded:
            found = told(sharded.search("red", recall=1.0))
        assert set(seen) == {"scan"} and len(seen) == 4
        assert found == told(parted.search("red", recall=1.0))

    def test_clips_without_codes_are_counted_through_all_shards(
        self, parted: Library, model: Any, monkeypatch: pytest.MonkeyPatch, fill_store: Callable[..., None]
    ) -> None:
        parted.optimize()
        for first in range(400, 480, 20):
            fill_store(Store.open(parted.path), first, 20)
        monkeypatch.setattr(ranking, "SCAN_FROM", 150)
        with parts_of(parted, model, 3)[0] as sharded:
            result = sharded.search("red")
            assert "160 clips have no codes yet" in " ".join(result.notes)
            assert told(result) == told(parted.search("red"))

    def test_words_and_pictures_are_fused_as_ever(self, library: Library, folder: Path, model: Any) -> None:
        (folder / "green.srt").write_text("1\n00:00:00,000 --> 00:00:01,500\nred\n")
        for name in ("red.mp4", "green.mp4", "sea"):
            library.add(folder / name)
        with parts_of(library, model, 3)[0] as sharded:
            for choices in ({}, {"sources": ("words",)}, {"limit": 1}):
                expected = library.search("red", **choices)  # type: ignore[arg-type]
                assert told(sharded.search("red", **choices)) == told(expected)  # type: ignore[arg-type]
            assert sharded.search("red")[0].sources == ("picture", "words")

    def test_an_empty_library(self, library: Library, model: Any) -> None:
        with parts_of(library, model, 2)[0] as sharded:
            assert told(sharded.search("red")) == ([], [], None, 1.0)

    def test_a_filter_that_cannot_be_read(self, parted: Library, model: Any) -> None:
        with parts_of(parted, model, 2)[0] as sharded, pytest.raises(BadFilter):
            sharded.search("red", where="duration >")


class TestLosses:
    """Shards that do not answer."""

    def test_a_partial_answer_says_how_much_was_searched(self, parted: Library, model: Any) -> None:
        sharded, shards = parts_of(parted, model, 3)
        with sharded:
            whole = told(sharded.search("red", limit=500))
            snapshot_clips = sum(video.clips for video in parted.videos())
            shards.lost = {1}
            result = sharded.search("red", limit=500)
            assert 0 < result.searched < 1
            assert "partial" in result.notes[0] and "%" in result.notes[0]
            clips = sum(hit.video.clips for hit in result)
            assert clips / snapshot_clips == pytest.approx(result.searched, abs=0.02)
            there = {hit.path for hit in result}
            assert [hit for hit in whole[0] if hit["path"] in there] == [
                rounded(hit.as_dict()) for hit in result
            ]
            shards.lost = set()
            assert told(sharded.search("red", limit=500)) == whole

    def test_the_statement_is_about_the_part_that_was_searched(self, parted: Library, model: Any) -> None:
        parted.optimize()
        sharded, shards = parts_of(parted, model, 2)
        with sharded:
            sharded.search("red")
            shards.lost = {0}
            confidence = sharded.search("a sentence that names no colour").confidence
        assert confidence is not None and confidence.level == "none"
        assert confidence.statement.startswith("Nothing in the part that was searched fits well")

    def test_without_any_shard_there_is_no_answer(self, parted: Library, model: Any) -> None:
        sharded, shards = parts_of(parted, model, 2)
        with sharded:
            shards.lost = {0, 1}
            with pytest.raises(ShardsGone, match="none of the 2 replicas"):
                sharded.search("red")

    def test_a_shard_that_begins_anew_answers_once_it_has_the_version(
        self, parted: Library, model: Any
    ) -> None:
        sharded, shards = parts_of(parted, model, 2)
        with sharded:
            whole = told(sharded.search("red"))
            shards.shards[0] = Shard(Part(number=0, count=2), 0)
            version = shards.prepared[-1]
            request = Request(text=model.encode_text(["red"]), object_phrase_weight=1.0, limit=1, per_video=1)
            assert shards.shards[0].rank(request, version) is None
            ranker = ShardedRanker(Store.open(parted.path), shards)
            ranker.renew()
            assert told(sharded.search("red")) == whole


class TestVersions:
    """The library changes while it is searched."""

    def test_the_old_version_answers_until_the_new_one_is_open(
        self, parted: Library, model: Any, fill_store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("prost.search.sharding.FOLLOWING", 3600.0)
        sharded, shards = parts_of(parted, model, 3)
        with sharded:
            before = told(sharded.search("red", limit=500))
            fill_store(Store.open(parted.path), 600, 5)
            assert told(sharded.search("red", limit=500)) == before
            assert len(shards.prepared) == 1
            sharded._searcher._ranker.renew()  # as the thread does
            after = told(sharded.search("red", limit=500))
            assert len(after[0]) == len(before[0]) + 5
            assert after == told(parted.search("red", limit=500))

    def test_the_thread_follows(
        self, parted: Library, model: Any, fill_store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("prost.search.sharding.FOLLOWING", 0.01)
        sharded, shards = parts_of(parted, model, 2)
        with sharded:
            sharded.search("red")
            fill_store(Store.open(parted.path), 600, 5)
            latest = LibraryVersion.latest(Store.open(parted.path))
            for _ in range(2000):
                if shards.prepared[-1] == latest:
                    break
                sharded.search("red")
            assert shards.prepared[-1] == latest

    def test_the_thread_goes_on_after_an_error_of_the_system(
        self,
        parted: Library,
        model: Any,
        fill_store: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr("prost.search.sharding.FOLLOWING", 0.01)
        sharded, shards = parts_of(parted, model, 2)
        refusals = [OSError(errno.EMFILE, "Too many open files")] * 2
        latest = LibraryVersion.latest

        def sometimes(store: Store) -> LibraryVersion:
            if threading.current_thread().name == "prost-shards" and refusals:
                raise refusals.pop()
            return latest(store)

        monkeypatch.setattr(LibraryVersion, "latest", sometimes)
        with sharded:
            sharded.search("red")
            fill_store(Store.open(parted.path), 600, 5)
            newest = latest(Store.open(parted.path))
            for _ in range(2000):
                if shards.prepared[-1] == newest:
                    break
                sharded.search("red")
            assert shards.prepared[-1] == newest and not refusals
            assert "Too many open files" in caplog.text

    def test_files_that_a_writer_has_removed_are_those_of_an_older_version(
        self, parted: Library, model: Any, fill_store: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("prost.search.sharding.FOLLOWING", 3600.0)
        sharded, _ = parts_of(parted, model, 3, memory=0)
        with sharded:
            sharded.search("red")
            fill_store(Store.open(parted.path), 600, 5)
            parted.optimize()  # compaction removes the files of the version that the shards have
            assert told(sharded.search("red", limit=500)) == told(parted.search("red", limit=500))

    def test_another_library_at_the_same_place(
        self, parted: Library, model: Any, tmp_path: Path, fill_store: Callable[..., None]
    ) -> None:
        other = Library(tmp_path / "other.prost", model)
        fill_store(Store.open(other.path), 900, 3)
        sharded, shards = parts_of(parted, model, 2)
        with sharded:
            sharded.search("red")
            shutil.rmtree(parted.path)
            shutil.copytree(other.path, parted.path)
            with sharded.reopen(model) as reopened:
                assert told(reopened.search("red")) == told(other.search("red"))
            with pytest.raises(LibraryDamaged, match="another library"):
                Shard(Part(number=0, count=1), 0).prepare(shards.prepared[0])


def test_the_number_of_shards_follows_from_the_size() -> None:
    sizes = PrototypeSizes(frames=12, objects=12, events=3, width=512)  # 80 kB a clip
    assert [shard_count(sizes, clips) for clips in (0, 1000, 100_000, 1_000_000, 10**9)] == [1, 1, 1, 10, 64]


def test_an_answer_holds_no_more_than_is_needed(parted: Library, model: Any) -> None:
    store = Store.open(parted.path)
    version = LibraryVersion.latest(store)
    shard = Shard(Part(number=0, count=1), 1 << 30)
    shard.prepare(version)
    request = Request(text=model.encode_text(["red"]), object_phrase_weight=1.0, limit=3, per_video=1)
    answer = shard.rank(request, version)
    assert answer is not None and 3 <= len(answer.addresses) < 30
    assert np.all(np.diff(answer.scores.total) <= 0)
    assert asdict(version)["clips"] == store.clips().version
