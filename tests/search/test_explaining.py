"""Evidence for hits of a real library."""

from __future__ import annotations

import dataclasses
import os
import shutil

import av
import numpy as np
import pytest

import prost
from prost.data.toybox import gallery, read_captions, render, write
from prost.errors import LibraryError, MissingPath, UsageError, VideoError
from prost.model.evidence import explain_clip
from prost.search.explaining import explain_file, pictures_of
from prost.video.decode import decode_frames
from prost.video.sampling import sample_times


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
    for query in captions[:4]:
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


def test_a_copy_is_explained_where_the_file_is_gone(library, captions, model, tmp_path):
    hit = library.search(captions[0], limit=1)[0]
    own = prost.Library(tmp_path / "own.prost", model)
    for name in ("a.mp4", "b.mp4"):
        shutil.copyfile(hit.path, tmp_path / name)
        own.add(tmp_path / name, workers=1)
    found = own.search(captions[0], limit=1)[0]
    os.unlink(found.path)  # after it was found
    evidence = own.explain(captions[0], found)
    assert evidence.score == pytest.approx(library.explain(captions[0], hit).score, abs=1e-5)


def test_no_model(library, captions):
    hit = library.search(captions[0])[0]
    with prost.Library(library.path) as without, pytest.raises(UsageError, match="needs a model"):
        without.explain(captions[0], hit)


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["pad", "stretch", "tiles"])
def test_evidence_comes_from_the_pictures_that_the_library_saw(videos, model, captions, tmp_path, fit):
    clips = prost.search.ClipSettings(fit=fit)
    with prost.Library(tmp_path / "wide.prost", model=model, clips=clips) as library:
        library.add(sorted(videos.glob("*.mp4"))[:3])
        hits = {query: library.search(query)[0] for query in captions[:3]}
    with prost.Library(tmp_path / "wide.prost", model=model) as again:
        for query, hit in hits.items():
            assert again.explain(query, hit).score == pytest.approx(hit.score, abs=0.01)
            assert explain_file(model, query, hit.path, clips).score == pytest.approx(hit.score, abs=0.01)


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    """Wide videos of two scenes, moved to the end of the picture where their first actor is: path, query, end."""
    made, wanted = [], gallery("toybox-20")
    for number in (2, 3):
        scene = dataclasses.replace(wanted.scenes[number], width=426, height=240)
        right = scene.objects[scene.events[0].thing].x >= 0.5
        shift = (scene.width / scene.height - 1) / 2 * (1 if right else -1)
        moved = tuple(dataclasses.replace(thing, x=thing.x + shift) for thing in scene.objects)
        path = tmp_path_factory.mktemp("ends") / f"{number}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=8)
            stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
            for pixels in render(
                dataclasses.replace(scene, objects=moved), np.arange(round(scene.duration * 8)) / 8
            ):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        made.append((path, wanted.queries[number].text, right))
    assert [right for *_, right in made] == [False, True]
    return made


@pytest.mark.slow
@pytest.mark.parametrize("fit", ["stretch", "tiles"])
def test_heat_lies_where_the_actor_is_in_the_wide_picture(ends, model, tmp_path, fit):
    clips = prost.search.ClipSettings(fit=fit)
    with prost.Library(tmp_path / "ends.prost", model=model, clips=clips) as library:
        library.add([path for path, *_ in ends])
        for path, query, right in ends:
            hit = next(hit for hit in library.search(query) if hit.path == str(path))
            evidence = library.explain(query, hit)
            assert (evidence.fit, evidence.place) == (fit, float(right) if fit == "tiles" else 0.5)
            assert evidence.score == pytest.approx(hit.score, abs=0.01)
            assert evidence.to_dict()["place"] == evidence.place
            # A stretch that is named by its times is that of the better tile, too.
            assert library.hit_at(query, hit.video, hit.start, hit.end).clip == hit.clip
            heat = np.clip(evidence.heat, 0, None).sum(axis=(0, 1))
            middle = ((np.arange(len(heat)) + 0.5) / len(heat) * heat).sum() / heat.sum()
            wide = hit.video.width / hit.video.height
            inside = (evidence.place * (wide - 1) + middle) / wide if fit == "tiles" else middle
            assert (inside > 0.5) == right
            # What the map is laid over is what the model saw, in another size.
            shown = pictures_of(evidence, path, 144)
            seen = decode_frames(
                path, evidence.times, model.config.image_size, fit=fit, place=evidence.place
            ).pixels
            smaller = shown.reshape(len(shown), 72, 2, 72, 2, 3).mean(axis=(2, 4))
            cropped = decode_frames(path, evidence.times, model.config.image_size).pixels.astype(float)
            assert np.abs(smaller - seen).mean() < np.abs(cropped - seen).mean() / 2


def test_each_tile_is_explained_by_itself(ends, model, tmp_path):
    """A hit of the worse tile is not explained by the better one."""
    path, query, _ = ends[1]
    clips = prost.search.ClipSettings(fit="tiles")
    with prost.Library(tmp_path / "ends.prost", model=model, clips=clips) as library:
        library.add([path])
        hit = library.search(query)[0]
        evidence = library.explain(query, hit)
        times = sample_times(hit.clip_start, hit.clip_end, model.config.frames)
        worse = decode_frames(path, times, model.config.image_size, fit="tiles", place=1 - evidence.place)
        other = explain_clip(model, query, worse.pixels, worse.times)
        assert other.score < evidence.score - 0.05
        moment = dataclasses.replace(
            hit.moments[0],
            clip=f"{hit.clip}-other",
            score=other.score,
            object_phrase=other.object_phrase,
            event_sentence=other.event_sentence,
        )
        explained = library.explain(query, dataclasses.replace(hit, moments=(moment,)))
        assert explained.place == 1 - evidence.place
        assert explained.score == pytest.approx(other.score, abs=1e-5)
