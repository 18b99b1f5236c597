"""Evidence for hits of a real library."""

from __future__ import annotations

import os

import numpy as np
import pytest

import prost
from prost.data.toybox import read_captions, write
from prost.errors import LibraryError, MissingPath, UsageError, VideoError
from prost.search.explaining import explain_file


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write(tmp_path_factory.mktemp("videos"), videos=9, seed=4)


@pytest.fixture(scope="module")
def model():
    return prost.load("toybox", device="cpu")


@pytest.fixture(scope="module")
def library(videos, model, tmp_path_factory):
    with prost.Library(tmp_path_factory.mktemp("library") / "toys.prost", model=model) as library:
        library.add(videos)
        yield library


@pytest.fixture(scope="module")
def captions(videos):
    return [row["captions"][0] for row in read_captions(videos)]


def test_evidence_has_the_score_of_the_hit(library, captions):
    """Up to what 8-bit prototypes lose."""
    for query in captions:
        for hit in library.search(query, limit=3):
            evidence = library.explain(query, hit)
            assert evidence.score == pytest.approx(hit.score, abs=0.01)
            assert evidence.object_phrase == pytest.approx(hit.object_phrase, abs=0.01)
            assert evidence.event_sentence == pytest.approx(hit.event_sentence, abs=0.01)
            assert (hit.clip_start <= evidence.times).all() and (evidence.times <= hit.clip_end).all()


def test_evidence_of_a_further_moment(library, captions):
    query, hit = next(
        (query, hit) for query in captions for hit in library.search(query) if len(hit.moments) > 1
    )
    evidence = library.explain(query, hit, moment=1)
    assert evidence.score == pytest.approx(hit.moments[1].score, abs=0.01)
    with pytest.raises(UsageError, match="has"):
        library.explain(query, hit, moment=len(hit.moments))


def test_a_second_question_is_not_decoded_again(library, captions):
    hit = library.search(captions[0])[0]
    assert library.explain(captions[0], hit) is library.explain(captions[0], hit)


def test_a_file_is_explained_like_its_hit(library, captions, model):
    """The best clip of the file, which the library finds too."""
    for query in captions[:3]:
        hit = library.search(query, limit=1)[0]
        evidence = explain_file(model, query, hit.path)
        assert evidence.score == pytest.approx(library.explain(query, hit).score, abs=1e-5)
        np.testing.assert_allclose(evidence.times, library.explain(query, hit).times)


def test_files_that_cannot_be_explained(library, captions, videos, model, tmp_path):
    query = captions[1]
    hit = library.search(query, limit=1)[0]
    status = os.stat(hit.path)
    try:
        os.utime(hit.path, (1, 1))
        with pytest.raises(LibraryError, match="has changed since it was indexed"):
            library.explain(query, hit)
        os.rename(hit.path, f"{hit.path}.away")
        with pytest.raises(MissingPath, match="is gone"):
            library.explain(query, hit)
    finally:
        if os.path.exists(f"{hit.path}.away"):
            os.rename(f"{hit.path}.away", hit.path)
        os.utime(hit.path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(MissingPath):
        explain_file(model, query, tmp_path / "none.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError):
        explain_file(model, query, tmp_path / "text.mp4")


def test_no_model(library, captions):
    hit = library.search(captions[0])[0]
    with prost.Library(library.path) as without, pytest.raises(UsageError, match="needs a model"):
        without.explain(captions[0], hit)


@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_evidence_comes_from_the_pictures_that_the_library_saw(videos, model, captions, tmp_path, fit):
    clips = prost.search.ClipSettings(fit=fit)
    with prost.Library(tmp_path / "wide.prost", model=model, clips=clips) as library:
        library.add(videos)
        hits = {query: library.search(query)[0] for query in captions[:3]}
    with prost.Library(tmp_path / "wide.prost", model=model) as again:
        for query, hit in hits.items():
            assert again.explain(query, hit).score == pytest.approx(hit.score, abs=0.01)
            assert explain_file(model, query, hit.path, clips).score == pytest.approx(hit.score, abs=0.01)
