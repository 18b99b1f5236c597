"""Figures of evidence: real files that open, with what the evidence says."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import prost
from prost.data.toybox import describe_event, render, sample_scene
from prost.errors import UsageError
from prost.explain.figure import write_figure
from prost.model.evidence import explain_clip
from prost.page.heat import CAVEAT
from prost.video.sampling import sample_times


@pytest.fixture(scope="module")
def explained():
    model = prost.load("toybox", device="cpu")
    rng = np.random.default_rng(2)
    scene = sample_scene(rng, "test")
    times = sample_times(0.0, scene.duration, model.config.frames)
    frames = render(scene, times, model.config.image_size)
    return explain_clip(model, describe_event(scene, 0, rng).text, frames, times), render(scene, times, 96)


def test_a_picture(explained, tmp_path):
    evidence, pictures = explained
    write_figure(tmp_path / "why.png", evidence, pictures, title="toy.mp4")
    with Image.open(tmp_path / "why.png") as image:
        assert image.size[0] > 1000
        assert len(np.unique(np.asarray(image).reshape(-1, len(image.getbands())), axis=0)) > 500


def test_an_svg_holds_query_title_and_scores_as_text(explained, tmp_path):
    evidence, pictures = explained
    write_figure(tmp_path / "why.svg", evidence, pictures, title="toy.mp4")
    text = "".join(ElementTree.parse(tmp_path / "why.svg").getroot().itertext())
    assert evidence.query in text
    assert "toy.mp4" in text
    assert f"{evidence.score:.3f}" in text
    assert all(word.text in text for word in evidence.words)
    assert CAVEAT in text


def test_equal_evidence_gives_equal_bytes(explained, tmp_path):
    evidence, pictures = explained
    for name in ("one.svg", "two.svg"):
        write_figure(tmp_path / name, evidence, pictures)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_page_lists_the_slots_and_needs_nothing_else(explained, tmp_path):
    evidence, pictures = explained
    write_figure(tmp_path / "why.html", evidence, pictures, title="a <b> & c.mp4")
    page = (tmp_path / "why.html").read_text(encoding="utf-8")
    assert page.count("<tr>") == len(evidence.slots) + 1
    assert page.count(CAVEAT) == 1
    assert "a &lt;b&gt; &amp; c.mp4" in page and "<b>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)


def test_a_script_in_the_query_stays_text(explained, tmp_path):
    evidence, pictures = explained
    evil = replace(evidence, query="<script>alert(1)</script> $x^2$")
    for form in ("html", "svg", "png"):
        write_figure(tmp_path / f"why.{form}", evil, pictures)
    assert "<script>" not in (tmp_path / "why.html").read_text(encoding="utf-8")
    assert "$x^2$" in (tmp_path / "why.html").read_text(encoding="utf-8")


def test_events_that_are_one_are_named(explained, tmp_path):
    evidence, pictures = explained
    for coincide in (True, False):
        write_figure(tmp_path / "why.svg", replace(evidence, events_coincide=coincide), pictures)
        text = (tmp_path / "why.svg").read_text(encoding="utf-8")
        assert ("their curves coincide" in text) is coincide


def test_a_model_without_maps_and_curves(explained, tmp_path):
    evidence, pictures = explained
    plain = replace(evidence, heat=None, word_heat=None, phrase_heat=None, events=None)
    write_figure(tmp_path / "why.svg", plain, pictures)
    svg = (tmp_path / "why.svg").read_text(encoding="utf-8")
    assert "no event curves" in svg and CAVEAT not in svg


def test_long_clips_show_twelve_frames(explained, tmp_path):
    evidence, pictures = explained
    rows = np.arange(64) % len(pictures)
    longer = replace(
        evidence, times=np.arange(64.0), heat=evidence.heat[rows], events=evidence.events[:, rows] / 64
    )
    write_figure(tmp_path / "why.svg", longer, pictures[rows])
    text = "".join(ElementTree.parse(tmp_path / "why.svg").getroot().itertext())
    assert (
        "0.0 s" in text
        and "63.0 s" in text
        and "1.0 s" not in text.replace("11.0 s", "").replace("51.0 s", "")
    )


def test_other_endings_and_other_numbers_of_pictures(explained, tmp_path):
    evidence, pictures = explained
    with pytest.raises(UsageError, match="ends in"):
        write_figure(tmp_path / "why.gif", evidence, pictures)
    with pytest.raises(UsageError, match="one for each frame"):
        write_figure(tmp_path / "why.png", evidence, pictures[:3])
    assert not list(tmp_path.iterdir())


def test_the_frames_are_drawn(explained, tmp_path):
    """Frames of one colour fill a good part of the picture."""
    evidence, pictures = explained
    red = np.zeros_like(pictures)
    red[..., 0] = 255
    bright = replace(evidence, heat=np.ones_like(evidence.heat))
    write_figure(tmp_path / "why.png", bright, red)
    with Image.open(io.BytesIO((tmp_path / "why.png").read_bytes())) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert ((pixels[:, 0] > 240) & (pixels[:, 1] < 20)).mean() > 0.2
