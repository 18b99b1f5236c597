"""Sentences of a set, and of which clips they may be true."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from prost.data.clip_sets import RecordClips, ToyboxClipSet
from prost.data.records import VideoRecord
from prost.data.sentences import sentences_of
from prost.data.toybox import gallery
from prost.data.toybox_clips import ClipMix

MIXED = ClipMix(moments=0.2, twins=0.5, long=0.2)


def test_drawn_sentences_are_true_of_their_own_clip_and_of_no_twin() -> None:
    clips = ToyboxClipSet.drawn(40, MIXED)
    sentences = sentences_of(clips, 3, seed=0)
    assert len(sentences) == len(sentences.texts) == 120 and sentences.true.all()
    assert sentences.clip.tolist() == [place for place in range(40) for _ in range(3)]
    assert all(sentences.may_be_true(sentence, int(clip)) for sentence, clip in enumerate(sentences.clip))
    twins = clips.twins
    told = [
        sentences.may_be_true(sentence, int(twins[clip]))
        for sentence, clip in enumerate(sentences.clip)
        if twins[clip] >= 0
    ]
    # A sentence about one event of the story is true of both orders.
    assert len(told) == 60 and np.mean(told) < 0.5
    assert sentences_of(clips, 3, seed=0).texts == sentences.texts
    assert sentences_of(clips, 3, seed=1).texts != sentences.texts


def test_a_whole_video_also_gets_sentences_about_one_event() -> None:
    clips = ToyboxClipSet.drawn(40, MIXED)
    whole = [place for place, clip in enumerate(clips.clips) if clip.event is None]
    assert 0 < len(whole) < 40
    sentences = sentences_of(clips, 1, seed=0, events=2)
    counts = np.bincount(sentences.clip, minlength=40)
    assert [place for place in range(40) if counts[place] == 3] == whole and counts.min() == 1
    assert all(sentences.may_be_true(sentence, int(clip)) for sentence, clip in enumerate(sentences.clip))
    words = np.array([len(text.split()) for text in sentences.texts])
    told = [words[sentences.clip == place] for place in whole]
    assert np.mean([lengths[0] > lengths[1:].max() for lengths in told]) > 0.9


def test_an_almost_true_sentence_shares_most_words_with_a_true_one() -> None:
    clips = ToyboxClipSet.drawn(200, MIXED)
    sentences = sentences_of(clips, 1, seed=0, almost_true=True)
    own = [sentences.may_be_true(sentence, int(clip)) for sentence, clip in enumerate(sentences.clip)]
    assert own == sentences.true.tolist()
    assert 180 < (~sentences.true).sum() <= 200
    true = {int(sentences.clip[at]): sentences.texts[at] for at in np.flatnonzero(sentences.true)}
    shared = [
        [
            len(set(sentences.texts[at].split()) & set(true[place].split()))
            for place in (clip, (clip + 7) % 200)
        ]
        for at in np.flatnonzero(~sentences.true)
        for clip in [int(sentences.clip[at])]
    ]
    with_own, with_other = np.mean(shared, axis=0)
    assert with_own > 2 * with_other


def test_a_drawn_sentence_is_true_of_every_scene_in_which_its_claims_hold() -> None:
    clips = ToyboxClipSet.of_gallery(gallery("toybox-20"), "test")
    twice = ToyboxClipSet([*clips.clips, *clips.clips], description="twice")
    sentences = sentences_of(twice, 1, seed=0)
    for sentence, clip in enumerate(sentences.clip.tolist()):
        assert sentences.may_be_true(sentence, (clip + 20) % 40)
    others = [sentences.may_be_true(0, place) for place in range(1, 20)]
    assert sum(others) < 3


def test_written_captions_are_true_of_the_clips_that_have_them(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.mp4" for name in "abc"]
    for path in paths:
        path.write_bytes(b"")
    told = [("a dog", "a dog runs", "a run"), ("a dog",), ("a cat",)]
    records = [VideoRecord(path.stem, path, captions) for path, captions in zip(paths, told, strict=True)]
    sentences = sentences_of(RecordClips(records), 2, seed=0)
    assert sentences.clip.tolist() == [0, 0, 1, 2] and sentences.true.all()
    assert set(sentences.texts[:2]) < set(told[0]) and sentences.texts[2:] == ["a dog", "a cat"]
    assert [sentences.may_be_true(2, place) for place in range(3)] == [True, True, False]
    assert [sentences.may_be_true(3, place) for place in range(3)] == [False, False, True]


def test_another_kind_of_set_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no sentences"):
        sentences_of(object(), 1, seed=0)  # type: ignore[arg-type]
