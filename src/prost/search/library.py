"""A library: videos go in, sentences find moments."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self, cast

import numpy as np
from numpy.typing import NDArray

from prost.errors import EmptyQuery, LibraryError, MissingPath, ModelMismatch, UsageError, VideoError
from prost.model.catalogue import BUNDLED, FIRST_CHOICE
from prost.model.encoding import PrecisionClass, VideoEncoder
from prost.model.evidence import Evidence
from prost.model.matching import TextPrototypes, VideoPrototypes, expect_rule
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import says_nothing
from prost.printable import is_utf8
from prost.progress import Advance
from prost.search.background import UnrelatedTexts, bring_background_up_to_date
from prost.search.choosing_form import AUTO, encoder_for, expect_form, form_elsewhere
from prost.search.coding import codes_are_current
from prost.search.confidence import number_of_words, words_in
from prost.search.description import Description, expect_same_model, library_top
from prost.search.encode import PrototypeModel
from prost.search.exact import SEARCHED_RULES
from prost.search.explaining import Explainer
from prost.search.filters import expect_filter
from prost.search.finding import PathLike, absolute_paths, find_for_add, outside_of
from prost.search.forks import expect_no_fork
from prost.search.fusing import SOURCES, search_sources
from prost.search.generations import library_root
from prost.search.hits import PICTURE, Hit, SearchResult
from prost.search.index_run import AddReport, IndexProgress, IndexRun
from prost.search.last_run import LastRun, read_last_run, write_last_run
from prost.search.likeness import encode_file, encode_picture, is_picture, phrases_of, query_like
from prost.search.missing_files import exists, is_under
from prost.search.moments import MOMENT_RULE, MomentRule, frame_values
from prost.search.near_duplicates import near_duplicates
from prost.search.optimizing import OptimizeReport, bring_up_to_date, optimize
from prost.search.pack_cache import CacheState, cache_state
from prost.search.packs import pack_folder
from prost.search.records import ClipSettings, PrototypeSizes, VideoRow
from prost.search.repairing import RepairReport, repair_library
from prost.search.request import Request
from prost.search.rerank import RECALL
from prost.search.schema import path_key
from prost.search.searching import Searcher
from prost.search.sharding import ShardedRanker, Shards
from prost.search.snapshot import StoredClip
from prost.search.source import Source, ThisMachine, WorkForOthers
from prost.search.store import Store
from prost.search.verifying import Problem, verify_library
from prost.search.words import index_words, sweep_words
from prost.video.files import FoundVideos, SeenFile
from prost.video.reader import VideoReader
from prost.video.sampling import stretch_within

MEMORY = 2 << 30
UNREADABLE_FOLDER = "the folder cannot be read"


@dataclass(frozen=True, kw_only=True)
class LibraryStats:
    """A library in numbers.

    Attributes:
        videos: files that can be found.
        failed: files that cannot be shown.
        clips: clips of all videos; copies share theirs.
        seconds: duration of the videos.
        nbytes: bytes on disk.
        model: name of the model that made it.
        fingerprint: of that model.
        codes_current: whether codes cover every clip; None where there are no codes, as in a small library.
        cache: copies of packs on this machine, for libraries on object storage; None for a folder.
    """

    videos: int
    failed: int
    clips: int
    seconds: float
    nbytes: int
    model: str
    fingerprint: str
    codes_current: bool | None
    cache: CacheState | None


class Library:
    """Videos, indexed by one model, to be searched by sentences.

    Args:
        path: a folder, made if absent; or the URI of a library on an object store (`s3://...`).
        model: what indexes and searches; without one, an existing library can be listed and cleaned.
        clips: how videos are cut and their pictures made square, fixed when the library is made; None for
            `ClipSettings.default` of the model, or for those of an existing library.
        precision: class of precision in which the vision tower computes; None for that of an existing library. The
            first clips fix it: without it, `add` decides by the form that it takes.
        moment_rule: how start and end are told.
        memory: bytes of prototypes that may stay in memory between searches; a larger library is read from
            disk for each search.
        storage_options: what Lance needs to reach an object store.

    Raises:
        MissingPath: no library there, and no model to make one.
        ModelMismatch: another model made it.
        LibraryDamaged: it cannot be read.
        LibraryError: it was cut otherwise, or written by a newer prost.
        UsageError: the place holds other things, or the model matches by a rule that search does not know.
        StorageError: the disk refuses.
    """

    def __init__(
        self,
        path: PathLike,
        model: PrototypeModel | None = None,
        *,
        clips: ClipSettings | None = None,
        precision: PrecisionClass | None = None,
        moment_rule: MomentRule = MOMENT_RULE,
        memory: int = MEMORY,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(model, str | os.PathLike):
            name = os.fspath(model)
            raise UsageError(f"the name {name!r} for a model", "a model", f"prost.load({name!r})")
        if model is not None:
            expect_rule(model.config, SEARCHED_RULES, "search")
        self._top = library_top(path)
        try:
            self._store = Store.open(self._top, storage_options)
        except MissingPath as error:
            if model is None:
                raise MissingPath(
                    error.arrived,
                    "a folder with a library",
                    f"`prost index FOLDER --library {self._top} --model {FIRST_CHOICE}`, which makes one; "
                    f"{BUNDLED} knows drawn videos only",
                ) from None
            described = _description(model, clips or ClipSettings.default(model.config), precision or "fp32")
            self._store = Store.create(self._top, described, storage_options)
        if model is not None:
            expect_same_model(self._store.root, self._store.description, model)
        _expect_same_clips(self._store, clips)
        _expect_same_precision(self._store, precision)
        self.model = model
        self._moment_rule, self._memory = moment_rule, memory
        self._precision = precision
        self._storage_options = storage_options
        self._packs = pack_folder(self._store)
        self._shards: Shards | None = None
        self._searcher = self._make_searcher()
        self._explainer: Explainer | None = None

    @property
    def path(self) -> str:
        """Where the library is."""
        return self._top

    @property
    def tables(self) -> str:
        """Where its tables are: there, or after a change of the model in a folder below."""
        return self._store.root

    @property
    def storage_options(self) -> Mapping[str, str] | None:
        """What is needed to reach the object store that it lies on."""
        return self._storage_options

    @property
    def description(self) -> Description:
        """Model, fingerprint, sizes and clip settings that it was made with."""
        return self._store.description

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory; nothing on disk waits for it."""
        self._searcher.forget()

    def search_through(self, shards: Shards) -> None:
        """Let other processes score the clips, each those of a part of the library; see `prost.search.sharding`.

        Searches then see a new version of the library once the shards have opened it. If a shard does not answer, a
        result is partial: its `searched` says how much was searched.

        Args:
            shards: the processes; they outlive this library.
        """
        self._searcher.forget()
        self._shards = shards
        self._searcher = self._make_searcher()

    def _make_searcher(self) -> Searcher:
        return Searcher(
            self._store,
            self._memory,
            self._moment_rule,
            UnrelatedTexts.of(self.model),
            None if self._shards is None else ShardedRanker(self._store, self._shards),
        )

    def reopen(self, model: PrototypeModel | None) -> Library:
        """The library that is at this path now, which may be another one.

        Args:
            model: as for `Library`.

        Raises:
            as `Library`.
        """
        library = Library(
            self.path,
            model,
            moment_rule=self._moment_rule,
            memory=self._memory,
            storage_options=self._storage_options,
        )
        if self._shards is not None:
            library.search_through(self._shards)
        return library

    def versions(self) -> tuple[int, int]:
        """Versions of the tables of videos and clips: when they stay, nothing changed.

        Raises:
            LibraryDamaged: the tables cannot be read.
            StorageError: the disk refuses.
        """
        return self._store.versions()

    def add(
        self,
        paths: PathLike | Iterable[PathLike] | FoundVideos,
        *,
        tags: str | Iterable[str] = (),
        retry_failed: bool = False,
        verify: bool = False,
        remove_missing: bool = False,
        wait: bool = False,
        workers: int | None = None,
        form: str = AUTO,
        progress: Callable[[IndexProgress], None] | None = None,
        announce: Callable[[str], None] | None = None,
        elsewhere: Callable[[WorkForOthers], Source] | None = None,
    ) -> AddReport:
        """Bring the library up to date with files and folders (with all that is below them).

        A file of known path, size and modification time is not read. A file of known content is not decoded: it
        was touched, it moved, or it is a copy. A file that cannot be shown is recorded with its reason and
        not tried again until it changes; it never stops the run. A file that changes while it is read is
        recorded as still being written, and tried again by the next `add`. Finished videos are committed during
        the run: an interrupted run keeps them, and the next one continues from there.

        Files that were deleted from a folder are removed from the library. Files that may come back are kept and
        reported as `missing`: those below a folder that shows no video any more or a link that leads nowhere
        (a disk that is not mounted), and all of them where more than 20 files, or more than half of the known
        files of these folders, are gone.

        Args:
            paths: files or folders; `~` is the home folder. Or addresses on an object store (`s3://bucket/folder`): of
                the videos there, copies on this machine are read. Or what `find_videos` found, which is not looked for
                again.
            tags: words that all these files get, for `where="array_has(tags, 'holiday')"`; a text is one tag.
            retry_failed: try files again that failed before, though they did not change.
            verify: read the content of all files, so that a change that left size and modification time the same is
                seen; what changed is indexed again.
            remove_missing: also remove the files that would be reported as missing; then a path may itself be
                gone, if the library knows files there.
            wait: wait while another process writes, instead of raising LibraryBusy.
            workers: processes that decode; None for one a core less one, at least one. The device is the model's.
            form: how the vision tower is computed, see `model.forms`. `auto` takes the fastest form of the library's
                class of precision that keeps the ranking; it is measured on a CPU at the first indexing of about 500
                clips or more, and remembered on this machine.
            progress: called after each clip of a file of several clips, and after each file.
            announce: told in one line when the forms are measured.
            elsewhere: has other machines read and encode, see `prost.scale.indexing`; `form` then is theirs, and
                `workers` is not looked at.

        Raises:
            LibraryError: the form is of another class of precision.
            FormRefused: the form cannot be made here.
            MissingPath: a path is not there.
            NoVideos: no video was found.
            UsageError: the library was opened without a model, a tag is not a text, `workers` is below 1, or there is
                no such form.
            LibraryBusy: another process writes.
            ModelMismatch: the library's model was changed since it was opened.
            StorageError: the disk refuses; what was committed is kept.
            LibraryDamaged: afterwards, the tables do not hold what they should.
        """
        model = self._need_model("adding videos")
        expect_form(form)
        words = _tags(tags)
        found = paths if isinstance(paths, FoundVideos) else self._find(paths, remove_missing)
        inside = outside_of(self.path, found)
        fit = self._store.description.clips.fit
        with (
            self._writing(wait),
            VideoReader(size=model.config.image_size, fit=fit, workers=workers) as reader,
        ):
            run = IndexRun(
                store=self._store,
                source=ThisMachine(
                    encoder=lambda files: self._encoder(model, files, form, announce),
                    reader=reader,
                    settings=self._store.description.clips,
                    frames=model.config.frames,
                )
                if elsewhere is None
                else elsewhere(self._work_for_others(model, form)),
                tags=words,
                retry_failed=retry_failed,
                verify=verify,
                remove_missing=remove_missing,
                progress=progress,
            )
            report = run.run(inside, [os.fspath(folder) for folder in found.folders], found.seen)
            report.notes.extend(index_words(self._store, inside))
            self._settle()
            report.passed_over, report.excluded = found.passed_over, found.excluded
            report.failed.extend((os.fspath(folder), UNREADABLE_FOLDER) for folder in found.unreadable)
            write_last_run(self.tables, report.counts, self._storage_options)
        return report

    def remove(self, paths: PathLike | Iterable[PathLike], *, wait: bool = False) -> list[str]:
        """Forget files, or all files of folders, whether or not they are still there; the files themselves stay.

        The bytes of their clips leave the disk with the next `optimize`.

        Args:
            paths: files or folders.
            wait: wait while another process writes, instead of raising LibraryBusy.

        Returns:
            the paths that were forgotten.

        Raises:
            MissingPath: the library knows nothing of a path.
            LibraryBusy: another process writes.
            ModelMismatch: the library's model was changed since it was opened.
            StorageError: the disk refuses.
        """
        with self._writing(wait):
            forgotten = [row.path for row in self._known(paths)]
            self._store.delete_videos(forgotten)
            self._settle()
        return forgotten

    def tag(
        self, paths: PathLike | Iterable[PathLike], tags: str | Iterable[str], *, wait: bool = False
    ) -> list[str]:
        """Give tags to files, or to all files of folders; `add(..., tags=...)` does it while it indexes.

        Args:
            paths: files or folders.
            tags: words; a text is one tag.
            wait: wait while another process writes, instead of raising LibraryBusy.

        Returns:
            the paths of the files that lacked one of them.

        Raises:
            MissingPath: the library knows nothing of a path.
            UsageError: a tag is not a text.
            LibraryBusy: another process writes.
            ModelMismatch: the library's model was changed since it was opened.
            StorageError: the disk refuses.
        """
        wanted = _tags(tags)
        return self._retag(paths, lambda old: list(dict.fromkeys([*old, *wanted])), wait)

    def untag(
        self, paths: PathLike | Iterable[PathLike], tags: str | Iterable[str], *, wait: bool = False
    ) -> list[str]:
        """Take tags away from files, or from all files of folders.

        Args:
            paths: files or folders.
            tags: words; a text is one tag.
            wait: wait while another process writes, instead of raising LibraryBusy.

        Returns:
            the paths of the files that had one of them.

        Raises:
            MissingPath: the library knows nothing of a path.
            UsageError: a tag is not a text.
            LibraryBusy: another process writes.
            ModelMismatch: the library's model was changed since it was opened.
            StorageError: the disk refuses.
        """
        unwanted = set(_tags(tags))
        return self._retag(paths, lambda old: [tag for tag in old if tag not in unwanted], wait)

    def videos(self, where: str | None = None) -> list[VideoRow]:
        """The files that the library has seen, failed ones included, sorted by path.

        Args:
            where: an SQL expression over their columns, as in `search`.

        Raises:
            BadFilter: the expression cannot be read.
        """
        return self._store.read_videos(where)

    def last_run(self) -> LastRun | None:
        """When the last `add` ended and what it did; None where that is not known."""
        return read_last_run(self.tables, self._storage_options)

    def stats(self) -> LibraryStats:
        """The library in numbers."""
        rows = self._store.read_videos()
        indexed = [row for row in rows if row.indexed]
        return LibraryStats(
            videos=len(indexed),
            failed=len(rows) - len(indexed),
            clips=sum({row.content: row.clips for row in indexed}.values()),
            seconds=sum(row.duration or 0.0 for row in indexed),
            nbytes=self._store.nbytes(),
            model=self.description.model,
            fingerprint=self.description.fingerprint,
            codes_current=codes_are_current(self._store, self._packs),
            cache=None if self._store.local else cache_state(),
        )

    def search(
        self,
        query: str,
        limit: int = 10,
        where: str | None = None,
        per_video: int = 3,
        *,
        coarse: str | None = None,
        recall: float = RECALL,
        all_duplicates: bool = False,
        sources: Sequence[str] = SOURCES,
        joint: bool = True,
        text: TextPrototypes | None = None,
    ) -> SearchResult:
        """Find the videos that fit a sentence best, and the moments in them.

        A hit is a video, ranked by its best clip. Beside its best moment stand further ones, if they score at
        least as well as the worst of the hits. Copies of a video are one hit. Scores are always exact; in a large
        library they are computed for the clips that may belong to the best. If the model has a joint scorer, it orders
        the fifty videos of the best scores again; `Hit.joint_score` says what it found.

        Args:
            query: a sentence; beyond the model's words it is cut, and `notes` of the result says so.
            limit: hits at most.
            where: an SQL expression over path, folder, name, size, duration, fps, width, height, codec,
                tags, added and status, such as `duration < 60 AND array_has(tags, 'holiday')`.
            per_video: moments of a hit at most.
            coarse: how these clips are found. `scan` looks at both scores of every clip by codes, `index` asks
                an index over event prototypes, `exact` scores every clip. By default a library of a few
                thousand clips or more is scanned, a smaller one scored exactly.
            recall: expected share of the best clips that the first two find; more takes longer.
            all_duplicates: also list files that show the film of a better hit in another size, codec or container.
            sources: where to search: `picture`, `words` (subtitle files and text tracks), or both. The two rankings are
                fused by their ranks; `Hit.sources` says which of them found a hit.
            joint: whether the model's joint scorer, if it has one, orders the best videos; otherwise their scores do.
            text: prototypes of the query, where they are known, as in a program that encodes many queries at once.

        Raises:
            EmptyQuery: not a word.
            UsageError: a limit below 1, an unknown `coarse`, or the library was opened without a model.
            BadFilter: `where` cannot be read.
            NotCoded: `coarse` asks for codes or an index that `optimize` has not made.
            NeedsTokenizer: the model came without a vocabulary.
        """
        expect_no_fork()  # before the model starts to wait for threads that are gone
        model = self._need_model("searching")
        if not query.strip():
            raise EmptyQuery("an empty query", "a sentence", "a dog catches a frisbee")
        request = Request(
            text=model.encode_text([query]) if text is None else text,
            words=number_of_words(query),
            object_phrase_weight=model.config.object_phrase_weight,
            limit=limit,
            per_video=per_video,
            where=where,
            coarse=coarse,
            recall=recall,
            all_duplicates=all_duplicates,
            joint=joint,
        )
        found = search_sources(self._searcher, self._store, request, query, sources)
        notes = query_notes(model, query) if PICTURE in sources else []  # the model does not read the words
        return SearchResult(found, [*notes, *found.notes], found.confidence, found.searched)

    def search_like(
        self,
        example: VideoRow | PathLike | bytes,
        limit: int = 10,
        where: str | None = None,
        per_video: int = 3,
        *,
        start: float = 0.0,
        end: float | None = None,
    ) -> SearchResult:
        """Search for what looks like a video, a part of one, or a picture; see `search/likeness.py`.

        The prototypes of a video of the library are those that it was indexed with; another file is encoded. A video is
        no hit of its own. Words are not searched. Scores are those of prototypes of videos with each other, which are
        larger than those of sentences.

        Args:
            example: a row of `videos`, the path of a video or a picture, or the bytes of a picture.
            limit: hits at most.
            where: as in `search`.
            per_video: moments of a hit at most.
            start: of the part that counts, seconds; before the end of the video.
            end: likewise; None for the video's end, and what is beyond it is cut off. Of a file outside the library one
                clip from `start` on counts.

        Raises:
            UsageError: the times, a limit below 1, no picture, or the library was opened without a model.
            MissingPath: there is no such file.
            VideoError: the file cannot be decoded, or failed when it was indexed.
            BadFilter: `where` cannot be read.
        """
        expect_no_fork()
        model = self._need_model("searching")
        if not start >= 0 or (end is not None and not start <= end):
            raise UsageError(f"a part from {start:g} to {end} s", "0 <= start <= end")
        row = example if isinstance(example, VideoRow) else self._row_of(example)
        conditions = [] if where is None else [expect_filter(self._store.videos(), where)]
        if row is not None:
            part = stretch_within(row.duration, start, math.inf if end is None else end)
            text = self._query_like(row, *part, model)
            conditions.append(f"content != '{row.content}'")
        elif isinstance(example, bytes) or is_picture(cast(PathLike, example)):
            text = encode_picture(model, cast("PathLike | bytes", example), fit=self.description.clips.fit)
        else:
            (path,) = absolute_paths(cast(PathLike, example))
            if not exists(path):
                raise MissingPath(f"{path} does not exist", "a picture or a video")
            text = encode_file(model, path, start, end, self.description.clips)
        request = Request(
            text=text,
            object_phrase_weight=model.config.object_phrase_weight,
            limit=limit,
            per_video=per_video,
            where=" AND ".join(conditions) or None,
            with_confidence=False,  # unrelated sentences say nothing about the scores of videos with each other
            joint=False,  # the joint scorer was trained on sentences
        )
        return self._searcher.search(request)

    def hit_at(self, query: str, video: VideoRow, start: float, end: float) -> Hit:
        """A stretch of a video as a hit of a sentence, whether or not a search finds it; for `explain` and exports.

        Where the file is gone or has changed, the hit is that of a copy of it which is there.

        Args:
            query: a sentence.
            video: a row of `videos`.
            start: seconds; before the end of the video.
            end: seconds; what is beyond the end of the video is cut off.

        Raises:
            EmptyQuery: not a word.
            UsageError: the stretch ends before it starts, or lies beyond the end of the video; or the library was
                opened without a model.
            VideoError: the video failed when it was indexed.
            LibraryError: it is no longer in the library.
        """
        model = self._need_model("scoring")
        content = _content_of(video)
        start, end = stretch_within(video.duration, start, end)
        request = Request(
            text=model.encode_text([query]),
            object_phrase_weight=model.config.object_phrase_weight,
            limit=1,
            per_video=1,
        )
        (moment,) = self._searcher.moments_at(request, [(content, start, end)])
        if moment is None:
            raise _no_longer_here(video)
        return self._searcher.hit_of(video, [moment], None, (PICTURE,), ())

    def files_of(self, video: VideoRow) -> list[VideoRow]:
        """A video and the copies of it that the library knows: indexed files with the same content, the video first."""
        if not video.content:
            return [video]
        rows = self._store.read_videos(f"content = '{video.content}' AND status = 'indexed'")
        return [video, *(row for row in rows if row.path != video.path)]

    def clips_of(self, video: VideoRow) -> list[StoredClip]:
        """The clips of a video with their prototypes, in the order of time; none of one that failed."""
        return self._searcher.clips_of(video.content) if video.content else []

    def relevance(self, query: str, video: VideoRow) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How well each sampled frame of a video fits a sentence.

        The value of a frame is the cosine of the sentence with its class token + weight x the object-phrase score that
        the frame would have alone. Unlike the curves by which moments are cut, values of different clips can be
        compared.

        Args:
            query: a sentence.
            video: a row of `videos`.

        Returns:
            times `[n]` in seconds, ascending, and values `[n]`. A time that two clips share stands once, with the
            larger value.

        Raises:
            EmptyQuery: not a word.
            UsageError: the library was opened without a model.
            VideoError: the video failed when it was indexed.
            LibraryError: it is no longer in the library.
        """
        model = self._need_model("scoring")
        text = model.encode_text([query])
        content = _content_of(video)
        clips = self._searcher.clips_of(content)
        if not clips:
            raise _no_longer_here(video)
        weight = model.config.object_phrase_weight
        best: dict[float, float] = {}
        for clip in clips:
            values = frame_values(text.phrase[0].numpy(), text.sentence[0].numpy(), clip.object, weight)
            for time, value in zip(clip.frame_times.tolist(), values.tolist(), strict=True):
                best[time] = max(value, best.get(time, -math.inf))
        times = sorted(best)
        return np.array(times), np.array([best[time] for time in times])

    def explain(self, query: str, hit: Hit, moment: int = 0) -> Evidence:
        """Why a hit was found: slots, phrases, words, patches and events, whose parts add up to the score.

        The clip is decoded and encoded again, in full precision: its score may differ from that of the hit by what
        8-bit prototypes lose. What was explained last is kept.

        Args:
            query: the sentence that found it.
            hit: of `search`.
            moment: which of its moments.

        Raises:
            UsageError: the library was opened without a model, or the hit has no such moment.
            MissingPath: neither the file nor a copy of it is there.
            LibraryError: the file has changed since it was indexed.
            VideoError: it cannot be decoded.
        """
        if self._explainer is None:
            model = self._need_model("explaining")
            if not isinstance(model, RetrievalModel):
                raise UsageError(f"a {type(model).__name__} cannot be explained", "a ProST")
            self._explainer = Explainer(model, fit=self._store.description.clips.fit)
        return self._explainer.explain(query, hit, self.files_of(hit.video), moment)

    def duplicates(self) -> list[list[VideoRow]]:
        """Groups of two or more files that show one film: copies, and other sizes, codecs and containers of it."""
        return near_duplicates(self._store, self._store.read_videos())

    def optimize(
        self,
        *,
        retrain: bool = False,
        index: str | None = None,
        wait: bool = False,
        progress: Advance | None = None,
    ) -> OptimizeReport:
        """Make searches fast: compact the tables, and bring codes, index and confidence up to date.

        What is damaged or lost is made again. Codebooks are trained anew when the library has outgrown them or
        they fit it no more. Searches go on meanwhile.

        Args:
            retrain: train the codebooks anew in any case.
            index: also make an index over event prototypes, `hnsw` or `ivf-pq`; None leaves it out, unless
                there is one, which is kept up to date.
            wait: wait while another process writes, instead of raising LibraryBusy.
            progress: called with the clips coded and the clips to code.

        Raises:
            LibraryBusy: another process writes.
            ModelMismatch: the library's model was changed since it was opened.
            StorageError: the disk refuses; what was there before is in use.
            UsageError: an unknown kind of index, or faiss is not installed.
        """
        with self._writing(wait):
            report = optimize(self._store, self._packs, retrain=retrain, index=index, progress=progress)
            scored = bring_background_up_to_date(
                self._store, self._packs, UnrelatedTexts.of(self.model), exactly=True
            )
            return replace(report, background=scored is not None)

    @contextmanager
    def as_it_is(self, *, wait: bool = False) -> Iterator[None]:
        """Context in which nobody writes to the library, and this process does not either.

        Args:
            wait: wait while another process writes, instead of raising LibraryBusy.

        Raises:
            LibraryBusy: another process writes.
            ModelMismatch: the library's model was changed since it was opened.
        """
        self._expect_in_use()
        with self._store.locked(wait=wait):
            self._expect_in_use()
            yield

    @contextmanager
    def _writing(self, wait: bool) -> Iterator[None]:
        """Hold the writer's lock of tables that are in use.

        Raises:
            LibraryBusy: another process writes, and `wait` is False.
            ModelMismatch: the library's model was changed since it was opened.
        """
        self._expect_in_use()  # before the lock: tables that were removed get no new file
        with self._store.writing(wait=wait):
            self._expect_in_use()
            yield

    def _expect_in_use(self) -> None:
        if library_root(self._top, self._storage_options) != self._store.root:
            raise ModelMismatch(
                f"the model of {self.path} was changed while it was open",
                "tables that searches read",
                "open it again with its new model",
            )

    def _retag(
        self,
        paths: PathLike | Iterable[PathLike],
        change: Callable[[Sequence[str]], Sequence[str]],
        wait: bool,
    ) -> list[str]:
        """Change the tags of files; returns the paths of those whose tags are others now."""
        with self._writing(wait):
            rows = [(row, replace(row, tags=tuple(change(row.tags)))) for row in self._known(paths)]
            changed = [after for before, after in rows if after != before]
            if changed:
                self._store.put_videos(changed)
                self._settle()
        return [row.path for row in changed]

    def _find(self, paths: PathLike | Iterable[PathLike], remove_missing: bool) -> FoundVideos:
        def known() -> list[str]:
            return [row.path for row in self._store.read_videos()]

        return find_for_add(paths, known=known, remove_missing=remove_missing)

    def _known(self, paths: PathLike | Iterable[PathLike]) -> list[VideoRow]:
        """Rows of files, and of all files of folders, each once.

        Raises:
            MissingPath: the library knows nothing of a path.
        """
        given = absolute_paths(paths)
        rows = self._rows_under(given)
        for path in given:
            if not any(is_under(row.path, path) for row in rows):
                raise MissingPath(f"{path} is not in {self.path}", "a file or folder that is")
        return rows

    def _rows_under(self, paths: list[str]) -> list[VideoRow]:
        """Rows of files, and of all files of folders, each once; paths are absolute."""
        return [row for row in self._store.read_videos() if any(is_under(row.path, path) for path in paths)]

    def _row_of(self, path: PathLike | bytes) -> VideoRow | None:
        """The row of an indexed file; None where the library does not have it."""
        if isinstance(path, bytes):
            return None
        (absolute,) = absolute_paths(path)
        rows = self._store.read_videos(f"key = '{path_key(absolute)}' AND status = 'indexed'")
        return rows[0] if rows else None

    def _query_like(self, video: VideoRow, start: float, end: float, model: PrototypeModel) -> TextPrototypes:
        """The query that the clips of a video make that share time with a stretch.

        Its phrases are the objects of the stored frames within the stretch, or of the frame next to its middle. The
        events are those of whole clips.
        """
        clips = self._searcher.clips_of(_content_of(video))
        if not clips:
            raise _no_longer_here(video)
        inside = [clip for clip in clips if clip.start <= end and start <= clip.end] or clips[-1:]
        object = np.stack([clip.object for clip in inside])
        if math.isfinite(end):
            times = np.stack([clip.frame_times for clip in inside])
            wanted = (times >= start) & (times <= end)
            if not wanted.any():
                away = np.abs(times - (start + end) / 2)
                wanted = away == away.min()
            object = object[wanted][None]
        event = np.stack([clip.event for clip in inside])
        return query_like(object, event, phrases_of(model))

    def check_sizes(self) -> None:
        """Compare the sizes of the data files with those that were written; `verify` also reads them.

        Raises:
            LibraryDamaged: a file is gone, or has another size.
        """
        self._store.check_sizes()

    def verify(self) -> list[Problem]:
        """Read the whole library and list what is wrong with it; see `verify_library`.

        Raises:
            StorageError: the disk refuses.
        """
        return verify_library(self.path, self._storage_options)

    def repair(
        self,
        *,
        workers: int | None = None,
        wait: bool = False,
        progress: Callable[[IndexProgress], None] | None = None,
    ) -> RepairReport:
        """Drop what is damaged and encode again what is missing; see `repair_library`.

        Raises:
            UsageError: the library was opened without a model.
            LibraryDamaged: its description is lost, and no table tells what it held.
            LibraryBusy: another process writes.
            ModelMismatch: the library's model was changed since it was opened.
            StorageError: the disk refuses.
        """
        model = self._need_model("repairing")
        self.close()
        return repair_library(
            self.path,
            model,
            storage_options=self._storage_options,
            workers=workers,
            wait=wait,
            progress=progress,
        )

    def _encoder(
        self,
        model: PrototypeModel,
        files: Sequence[SeenFile],
        form: str,
        announce: Callable[[str], None] | None,
    ) -> VideoEncoder[VideoPrototypes]:
        # Another process may have added the first clips since this one opened the library.
        self._store.refresh_description()
        _expect_same_precision(self._store, self._precision)
        return encoder_for(
            self._store,
            model,
            files,
            form=form,
            class_is_open=self._precision is None,
            announce=announce,
        )

    def _work_for_others(self, model: PrototypeModel, form: str) -> WorkForOthers:
        """What other machines need to know; the caller holds the writer's lock."""
        self._store.refresh_description()
        _expect_same_precision(self._store, self._precision)
        chosen = form_elsewhere(self._store, form, class_is_open=self._precision is None)
        return WorkForOthers(
            root=self._store.root,
            description=self._store.description,
            storage_options=self._storage_options,
            model=model,
            form=chosen.name,
        )

    def _settle(self) -> None:
        """After writing: no clips without a video, no video without its clips, no unused files, all clips coded."""
        self._store.sweep()
        sweep_words(self._store)
        self._store.check_counts()
        bring_up_to_date(self._store, self._packs)
        bring_background_up_to_date(self._store, self._packs, UnrelatedTexts.of(self.model), exactly=False)

    def _need_model(self, what: str) -> PrototypeModel:
        if self.model is None:
            raise UsageError(
                f"{what} needs a model, and {self.path} was opened without one",
                f"the model that made it, {self.description.model!r} ({self.description.fingerprint})",
                "Library(path, model=prost.load(...))",
            )
        return self.model


def _content_of(video: VideoRow) -> str:
    """Hash of an indexed video's content.

    Raises:
        VideoError: it failed when it was indexed.
    """
    if not video.indexed or video.content is None:
        raise VideoError(video.path, video.reason or "not indexed", video.detail or "")
    return video.content


def _no_longer_here(video: VideoRow) -> LibraryError:
    return LibraryError(f"{video.path} is no longer in the library", suggestion="search again")


def _tags(tags: str | Iterable[str]) -> list[str]:
    """Tags, each once; a text is one tag.

    Raises:
        UsageError: one is empty, not a text or not UTF-8.
    """
    given = [tags] if isinstance(tags, str) else list(tags)
    for tag in given:
        if not isinstance(tag, str) or not tag.strip():
            raise UsageError(f"tag {tag!r}", "words, such as holiday")
        if not is_utf8(tag):
            raise UsageError(
                f"tag '{tag}' holds bytes that are not UTF-8", "UTF-8", "check the terminal's encoding"
            )
    return list(dict.fromkeys(given))


def _description(model: PrototypeModel, clips: ClipSettings, precision: PrecisionClass) -> Description:
    return Description(
        model=model.config.name,
        fingerprint=model.fingerprint,
        sizes=PrototypeSizes.of(model.config),
        clips=clips,
        precision=precision,
    )


def _expect_same_clips(store: Store, clips: ClipSettings | None) -> None:
    made_with = store.description.clips
    if clips is not None and clips != made_with:
        raise LibraryError(
            f"{store.root} holds clips of {made_with.longest:g} s that overlap by {made_with.overlap:g} "
            f"(fit {made_with.fit}), asked for were {clips.longest:g} s and {clips.overlap:g} (fit {clips.fit})",
            "the settings that it was made with",
            "leave them out, or index into a new library",
        )


def _expect_same_precision(store: Store, precision: PrecisionClass | None) -> None:
    made_in = store.description.precision
    if precision is not None and precision != made_in:
        raise LibraryError(
            f"{store.root} holds prototypes computed in {made_in}, asked for was {precision}",
            "the precision that it was made with",
            "leave it out, or index into a new library",
        )


def query_notes(model: PrototypeModel, query: str) -> list[str]:
    """What a person should know about how a model reads a sentence: words that it lacks or cuts."""
    notes = []
    words, most = model.count_words(query), model.config.max_words
    if words > most:
        notes.append(
            f"the query has {words} tokens, start and end included; the model reads {most}, the rest was cut"
        )
    if unknown := model.unknown_words(query):
        listed = ", ".join(
            repr(word if len(word) < 40 else f"{word[:40]}...") for word in dict.fromkeys(unknown)
        )
        if set(words_in(query)) - set(unknown):
            notes.append(f"the model does not know {listed}; only the rest of the query counts")
        else:
            notes.append(f"the model does not know {listed}, so that the query says nothing to it")
    if says_nothing(query):
        notes.append(
            f"the query {query!r} holds only stop words, which fit any video; say what should be seen"
        )
    return notes
