"""How high unrelated sentences score in a library: derived from its clips, and stored beside them.

    holiday.prost/
        background.map  best score and profile of each unrelated sentence
        unrelated.map   text prototypes of these sentences and their numbers of words, so that they are encoded once

Both files are immutable, replaced as a whole, and can always be made again. A background may be a little behind the
clips: the best score of a sentence hardly changes when some clips come or go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.errors import PackDamaged
from prost.model.joint_scorer import JUDGED
from prost.model.matching import TextPrototypes
from prost.model.retrieval_model import RetrievalModel
from prost.search.coding import SCAN_FROM
from prost.search.confidence import FalseAlarms, Profile, number_of_words
from prost.search.encode import PrototypeModel
from prost.search.exact import total_scores
from prost.search.joint import JointScoring, best_clips
from prost.search.mapped import MappedFile, open_mapped, remove, write_mapped
from prost.search.packs import PackFolder
from prost.search.shortlist import OpenedPacks, open_packs
from prost.search.snapshot import ClipSnapshot
from prost.search.storage_errors import storage_errors
from prost.search.store import Store
from prost.search.unrelated import COUNT, EDITION, unrelated_sentences

BACKGROUND, TEXTS = "background.map", "unrelated.map"
BACKGROUND_KIND, TEXTS_KIND = "background", "unrelated sentences"
# Clips whose scores make the profile of a sentence.
PROFILE_CLIPS = 256
# A background is used until so large a fraction of the clips came or went.
BEHIND = 0.25
# Up to so many clips a background is made again after every change: it takes some seconds at most.
SMALL = 64
# Sentences that a joint scorer judges in a small library, which is judged after every change: fifty videos of one take
# it some ten milliseconds. In a larger library it judges all of them.
JUDGED_IN_SMALL = 200
# Sentences that are judged at once, with all clips, where hardly any clip is judged in vain, because it is not the best
# of its video: the bundled model's scorer takes 4.6 ms for each call and 0.6 ms for each clip.
JUDGED_AT_ONCE, IN_VAIN = 16, 7
# Bytes of prototypes that are read once for all sentences.
MEMORY = 256 << 20
# Clips that the scan proposes for the best score of a sentence, and for the videos that a joint scorer judges.
PROPOSED, PROPOSED_TO_JUDGE = 16, 4 * JUDGED
# Sentences for a background that is not stored, and the largest number of clips that are scored exactly for it.
FEW, MOST_CLIPS = 64, SCAN_FROM


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedSentences:
    """Sentences as far as a background needs them.

    Attributes:
        text: prototypes of m sentences, on the CPU.
        words: numbers of words `[m]`.
    """

    text: TextPrototypes
    words: NDArray[np.int64]

    @classmethod
    def of(cls, model: PrototypeModel, sentences: Sequence[str]) -> EncodedSentences:
        """Encode sentences."""
        words = np.array([number_of_words(sentence) for sentence in sentences], dtype=np.int64)
        return cls(text=model.encode_text(list(sentences)), words=words)


@dataclass(frozen=True, kw_only=True)
class UnrelatedTexts:
    """Unrelated sentences in the words of a model.

    Attributes:
        encode: encodes the first so many.
        object_phrase_weight: of the model's configuration.
        joint: the model's joint scorer; None for a model without one.
    """

    encode: Callable[[int], EncodedSentences]
    object_phrase_weight: float
    joint: JointScoring | None = None

    @classmethod
    def of(cls, model: PrototypeModel | None) -> UnrelatedTexts | None:
        """In the words of a library's model; None without a model, and for one without a vocabulary."""
        if model is None or (isinstance(model, RetrievalModel) and model.tokenizer is None):
            return None
        return cls(
            encode=lambda count: EncodedSentences.of(model, unrelated_sentences(model, count)),
            object_phrase_weight=model.config.object_phrase_weight,
            joint=JointScoring.of(model),
        )


@dataclass(frozen=True, kw_only=True)
class JointBest:
    """The best logit of each unrelated sentence by a joint scorer.

    Attributes:
        scorer: fingerprint of the scorer.
        best: over the best videos of each of the first j sentences `[j]`.
    """

    scorer: str
    best: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """What unrelated sentences scored in one state of a library.

    Attributes:
        object_phrase_weight: that the scores were made with.
        best: best score of each of m sentences `[m]`.
        words: number of words of each `[m]`.
        profiles: mean and upper score of each over a sample of the clips `[m, 2]`; None in a library of few clips.
        contents: hash of each video's content, ascending `[v]`, uint64.
        clips: number of clips of each `[v]`.
        joint: what a joint scorer gave; None without one.
    """

    object_phrase_weight: float
    best: NDArray[np.float64]
    words: NDArray[np.int64]
    profiles: NDArray[np.float64] | None
    contents: NDArray[np.uint64]
    clips: NDArray[np.int64]
    joint: JointBest | None = None

    @cached_property
    def false_alarms(self) -> FalseAlarms:
        """The rates that follow from the scores."""
        return FalseAlarms(best=self.best, words=self.words, profiles=self.profiles)

    @cached_property
    def joint_false_alarms(self) -> FalseAlarms | None:
        """The rates that follow from the logits of the joint scorer; None without one."""
        if self.joint is None:
            return None
        best = self.joint.best
        return FalseAlarms(
            best=best,
            words=self.words[: len(best)],
            profiles=None if self.profiles is None else self.profiles[: len(best)],
        )

    def made_with(self, object_phrase_weight: float, joint: JointScoring | None) -> bool:
        """Whether it was made with a weight, and with a joint scorer if there is one."""
        scorer = None if self.joint is None else self.joint.scorer
        return self.object_phrase_weight == object_phrase_weight and (
            joint is None or scorer == joint.fingerprint
        )

    def behind(self, snapshot: ClipSnapshot) -> float:
        """Fraction of the clips that came or went since: 0 where it is current, 1 or more where nothing is as it was.

        Args:
            snapshot: the clips now.
        """
        contents, clips = _contents(snapshot)
        every = np.union1d(self.contents, contents)
        then, now = (
            np.bincount(np.searchsorted(every, hashes), weights=counts, minlength=len(every))
            for hashes, counts in ((self.contents, self.clips), (contents, clips))
        )
        return float(np.abs(now - then).sum() / max(1.0, then.sum()))


def profile_rows(snapshot: ClipSnapshot) -> NDArray[np.int64]:
    """The clips whose scores make a profile, evenly spread over the library."""
    count = min(len(snapshot), PROFILE_CLIPS)
    return np.linspace(0, len(snapshot) - 1, count).round().astype(np.int64)


def score_unrelated(
    sentences: EncodedSentences,
    snapshot: ClipSnapshot,
    opened: OpenedPacks | None,
    object_phrase_weight: float,
    joint: JointScoring | None = None,
) -> Background | None:
    """Score unrelated sentences against a library.

    In a large library the scan proposes the best clips of each sentence, and these are scored exactly, as are the clips
    without codes.

    Args:
        sentences: m of them.
        snapshot: the clips.
        opened: the codes; None where there are none.
        object_phrase_weight: of the model's configuration.
        joint: judges the best videos of each sentence, as in a search; in a small library, of the first sentences.

    Returns:
        None for an empty library, and for one with too many clips without codes.
    """
    shortlist = None
    if opened is not None and len(snapshot) >= SCAN_FROM:
        shortlist = opened.shortlist(snapshot.rows, "scan")
    uncoded = np.arange(len(snapshot)) if shortlist is None else np.flatnonzero(~shortlist.covered)
    if not len(snapshot) or len(uncoded) > MOST_CLIPS:
        return None
    text, sample = sentences.text, profile_rows(snapshot)
    scores = snapshot.total_scores(text, uncoded, object_phrase_weight)
    reader = snapshot.reader({} if opened is None else opened.pages)
    most = JUDGED_IN_SMALL if len(snapshot) <= SMALL else len(text)
    best, judged = np.empty(len(text)), np.empty(min(len(text), most))
    sampled = (
        scores[:, sample]
        if shortlist is None
        else total_scores(text, reader.read(sample), object_phrase_weight)
    )
    together = None
    if (
        joint is not None
        and shortlist is None
        and len(snapshot) <= min(JUDGED, len(snapshot.contents) + IN_VAIN)
    ):
        clips, first_ones = snapshot.prototypes(uncoded, reader), text[: len(judged)]
        lots = (slice(first, first + JUDGED_AT_ONCE) for first in range(0, len(judged), JUDGED_AT_ONCE))
        together = np.concatenate([joint.of_clips(first_ones[lot], clips) for lot in lots])
    for place in range(len(text)):
        one, rows, found = text[place : place + 1], uncoded, scores[place]
        judges = joint is not None and place < len(judged)
        if shortlist is not None:
            count = PROPOSED_TO_JUDGE if judges else PROPOSED
            proposed = shortlist.find(one, object_phrase_weight, count, None).rows
            exact = total_scores(one, reader.read(proposed), object_phrase_weight)[0] if len(proposed) else []
            # The sample is never empty, unlike what has codes and what has none.
            rows = np.concatenate([uncoded, sample, proposed])
            found = np.concatenate([found, sampled[place], exact])
        best[place] = found.max()
        if joint is not None and judges:
            chosen = best_clips(snapshot.content_of[rows], found)
            logits = (
                joint.of_clips(one, snapshot.prototypes(rows[chosen], reader))[0]
                if together is None
                else together[place, chosen]
            )
            judged[place] = logits.max()
    contents, counts = _contents(snapshot)
    profiles = [Profile.of(row) for row in sampled]
    return Background(
        object_phrase_weight=object_phrase_weight,
        best=best,
        words=sentences.words,
        profiles=None
        if None in profiles
        else np.array([[each.mean, each.upper] for each in profiles if each is not None]),
        contents=contents,
        clips=counts,
        joint=None if joint is None else JointBest(scorer=joint.fingerprint, best=judged),
    )


def _contents(snapshot: ClipSnapshot) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hash of each content, ascending, and its number of clips."""
    names = snapshot.contents.to_pylist()
    hashes = np.array(
        [int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") for name in names], np.uint64
    )
    clips = np.bincount(snapshot.content_of, minlength=len(names)).astype(np.int64)
    order = np.argsort(hashes)
    return hashes[order], clips[order]


@dataclass(kw_only=True)
class BackgroundFile:
    """The stored background of one local library. Threads may share it.

    Attributes:
        root: folder of the tables.
        fingerprint: of the library's model.
    """

    root: Path
    fingerprint: str
    _read: tuple[tuple[int, int, int], Background | None] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, store: Store) -> BackgroundFile | None:
        """Of a library; None for one on object storage, where nothing is stored yet."""
        if not store.local:
            return None
        return cls(root=Path(store.root), fingerprint=store.description.fingerprint)

    def read(self) -> Background | None:
        """What is stored; None where nothing is, or only for another edition of the sentences.

        Raises:
            PackDamaged: the file is damaged.
        """
        path = self.root / BACKGROUND
        try:
            status = os.stat(path)
            state = (status.st_ino, status.st_size, status.st_mtime_ns)
            known = self._read
            if known is not None and known[0] == state:
                return known[1]
            file = open_mapped(path, BACKGROUND_KIND)
            file.verify()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise PackDamaged(
                f"{path}: it cannot be read ({error.strerror})", suggestion="prost optimize"
            ) from None
        background = _background(file) if self._fits(file) else None
        self._read = state, background
        return background

    def write(self, background: Background) -> None:
        """Store a background in one step.

        Raises:
            StorageError: the disk refuses; what was stored before is kept.
        """
        arrays = {
            "best": background.best,
            "words": background.words,
            "contents": background.contents,
            "clips": background.clips,
        }
        notes: dict[str, Any] = {"weight": background.object_phrase_weight}
        if background.profiles is not None:
            arrays["profiles"] = background.profiles
        if background.joint is not None:
            arrays["joint"], notes["joint"] = background.joint.best, background.joint.scorer
        self._write(BACKGROUND, BACKGROUND_KIND, notes, arrays)

    def remove(self) -> None:
        """Remove the background of a library that has no clips any more.

        Raises:
            StorageError: the disk refuses.
        """
        with storage_errors(str(self.root)):
            remove(self.root / BACKGROUND)

    def texts(self) -> EncodedSentences | None:
        """The stored unrelated sentences; None where there are none, or they are damaged."""
        try:
            file = open_mapped(self.root / TEXTS, TEXTS_KIND)
            file.verify()
        except (FileNotFoundError, PackDamaged):
            return None
        if not self._fits(file):
            return None
        # Copied, because torch warns about memory that it may not write to.
        phrase, sentence = (torch.from_numpy(np.array(file.arrays[part])) for part in ("phrase", "sentence"))
        return EncodedSentences(text=TextPrototypes(phrase, sentence), words=file.arrays["words"])

    def write_texts(self, sentences: EncodedSentences) -> None:
        """Store the unrelated sentences in one step.

        Raises:
            StorageError: the disk refuses.
        """
        text = sentences.text
        arrays = {"phrase": text.phrase.numpy(), "sentence": text.sentence.numpy(), "words": sentences.words}
        self._write(TEXTS, TEXTS_KIND, {}, arrays)

    def _fits(self, file: MappedFile) -> bool:
        return bool(file.notes["fingerprint"] == self.fingerprint and file.notes["edition"] == EDITION)

    def _write(self, name: str, kind: str, notes: dict[str, Any], arrays: dict[str, NDArray]) -> None:
        notes = {"fingerprint": self.fingerprint, "edition": EDITION, **notes}
        with storage_errors(str(self.root)):
            write_mapped(self.root, name, kind, notes, arrays)


def _background(file: MappedFile) -> Background:
    joint = file.arrays.get("joint")
    return Background(
        object_phrase_weight=file.notes["weight"],
        best=file.arrays["best"],
        words=file.arrays["words"],
        profiles=file.arrays.get("profiles"),
        contents=file.arrays["contents"],
        clips=file.arrays["clips"],
        joint=None if joint is None else JointBest(scorer=file.notes["joint"], best=joint),
    )


def bring_background_up_to_date(
    store: Store, packs: PackFolder | None, unrelated: UnrelatedTexts | None, *, exactly: bool
) -> bool | None:
    """Score the unrelated sentences again if the stored scores are behind, damaged or lost.

    Args:
        store: the library, whose lock is held.
        packs: its packs; None for a library without any.
        unrelated: the sentences in the words of the model; None where the model is not at hand. Then those are scored
            whose prototypes are stored, unless a joint scorer judged them.
        exactly: whether any change of the clips is a reason; otherwise one of a quarter, or any in a small library.

    Returns:
        whether they were scored; None if that needs a model.

    Raises:
        LibraryDamaged: the clips cannot be read.
        StorageError: the disk refuses.
    """
    file = BackgroundFile.of(store)
    if file is None or packs is None:
        return False
    snapshot = ClipSnapshot(store, memory=MEMORY)
    if not len(snapshot):
        file.remove()
        return False
    try:
        stored = file.read()
    except PackDamaged:
        stored = None
    joint = None if unrelated is None else unrelated.joint
    if unrelated is not None:
        weight = unrelated.object_phrase_weight
    elif stored is not None:
        weight = stored.object_phrase_weight
    else:
        return None
    if stored is not None and stored.made_with(weight, joint):
        behind = stored.behind(snapshot)
        if behind == 0 or (behind <= BEHIND and not exactly and len(snapshot) > SMALL):
            return False
    if unrelated is None and stored is not None and stored.joint is not None:
        return None  # the joint scorer is the model's
    sentences = file.texts()
    if sentences is None:
        if unrelated is None:
            return None
        sentences = unrelated.encode(COUNT)
        file.write_texts(sentences)
    try:
        opened = open_packs(packs)
    except PackDamaged:
        opened = None
    background = score_unrelated(sentences, snapshot, opened, weight, joint)
    if background is None:
        return False
    file.write(background)
    return True
