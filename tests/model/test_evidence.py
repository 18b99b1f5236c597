"""Evidence adds up to the score, and moves with what is in the picture."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

import prost
from prost.config import ModelConfig
from prost.data.toybox import describe_event, render, scene_stream
from prost.errors import EmptyQuery, NeedsTokenizer
from prost.model.evidence import explain_clip
from prost.model.prost import ProST
from prost.model.tokenizer import whole_words
from prost.video.sampling import sample_times

QUERY = "a red ball falls, then it spins"


def small_model(**changes) -> ProST:
    """Random weights; one event layer, since each further one makes the events more alike."""
    values = {
        "clip": {
            "image_size": 48,
            "patch_size": 12,
            "vision_width": 64,
            "vision_layers": 2,
            "text_width": 64,
            "text_layers": 1,
            "vocabulary": 20,
        },
        "width": 32,
        "frames": 4,
        "object_prototypes": 5,
        "phrase_prototypes": 6,
        "event_prototypes": 3,
        "event_layers": 1,
        "token_shift_blocks": [],
        "max_words": 16,
        **changes,
    }
    torch.manual_seed(3)
    return ProST(ModelConfig.parse(values), whole_words(QUERY.replace(",", " ,").split())).eval()


def frames_of(model: ProST, seed: int = 0) -> np.ndarray:
    size, length = model.config.image_size, model.config.frames
    return np.random.default_rng(seed).integers(0, 256, (length, size, size, 3), dtype=np.uint8)


def times_of(model: ProST) -> np.ndarray:
    return sample_times(0.0, 8.0, model.config.frames)


@pytest.fixture(scope="module")
def toybox():
    return prost.load("toybox", device="cpu")


@pytest.fixture(scope="module", params=["softmax", "relu", "relu, padding takes part", "bundled"])
def explained(request, toybox):
    model = toybox
    if request.param != "bundled":
        model = small_model(
            sparse_weights=request.param.split(",")[0], mask_padding="padding" not in request.param
        )
    frames = frames_of(model)
    return model, frames, explain_clip(model, QUERY, frames, times_of(model))


def test_the_score_is_that_of_matching(explained):
    model, frames, evidence = explained
    with torch.inference_mode():
        video = model.video_prototypes(model.normalise_pixels(frames[None]))
        expected = model.match(model.encode_text([QUERY]), video)
    assert evidence.score == pytest.approx(expected.total.item(), abs=1e-6)
    assert evidence.object_phrase == pytest.approx(expected.object_phrase.item(), abs=1e-6)
    assert evidence.event_sentence == pytest.approx(expected.event_sentence.item(), abs=1e-6)


def test_the_parts_add_up_to_the_score(explained):
    _, _, evidence = explained
    shares = sum(slot.share for slot in evidence.slots)
    assert evidence.event_sentence + shares == pytest.approx(evidence.score, abs=1e-5)
    assert evidence.event_cosines[evidence.winner] == pytest.approx(evidence.event_sentence, abs=1e-6)
    assert evidence.event_cosines.max() == evidence.event_cosines[evidence.winner]


def test_heat_adds_up_to_the_score_of_each_frame(explained):
    """Against a plain computation in float64: the cosine of each object with its best phrase, split by tokens."""
    model, frames, evidence = explained
    with torch.inference_mode():
        tokens = model.frame_tokens(model.normalise_pixels(frames[None]))
        objects = model.video_head(tokens).object[0].double().numpy()
        weights = model.object_weights(tokens)[0].double().numpy()
        phrases = model.encode_text([QUERY]).phrase[0].double().numpy()
    tokens = tokens[0].double().numpy()
    grid = model.config.clip.grid
    length, slots = objects.shape[:2]
    expected = np.zeros((length, tokens.shape[1]))
    cosines = np.zeros((length, slots))
    sizes = np.linalg.norm(phrases, axis=1, keepdims=True)
    directions = np.divide(phrases, sizes, out=np.zeros_like(phrases), where=sizes > 0)
    for frame in range(length):
        for slot in range(slots):
            size = np.linalg.norm(objects[frame, slot])
            if size == 0:
                continue
            best = directions[np.argmax(directions @ objects[frame, slot])]
            cosines[frame, slot] = best @ objects[frame, slot] / size
            for token in range(tokens.shape[1]):
                expected[frame, token] += (
                    weights[frame, token, slot] * (tokens[frame, token] @ best) / size / slots
                )
    np.testing.assert_allclose(expected.sum(axis=1), cosines.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(evidence.frame_scores, cosines.mean(axis=1), atol=1e-5)
    np.testing.assert_allclose(evidence.heat, expected[:, 1:].reshape(length, grid, grid), atol=1e-5)


def test_words_share_the_heat(explained):
    _, _, evidence = explained
    assert evidence.word_heat.shape[0] == len(evidence.words)
    np.testing.assert_allclose(evidence.word_heat.sum(axis=0), evidence.heat, atol=1e-5)


def test_shares_of_words_sum_to_one(explained):
    _, _, evidence = explained
    for slot in evidence.slots:
        if slot.words:  # a dead phrase has none
            assert sum(each.share for each in slot.words) == pytest.approx(1.0, abs=1e-5)
            assert [each.share for each in slot.words] == sorted(
                (each.share for each in slot.words), reverse=True
            )


def test_words_split_the_object_phrase_part(explained):
    _, _, evidence = explained
    shares = evidence.word_shares()
    assert shares.shape == (len(evidence.words),)
    # A dead phrase has no words, and its cosine is 0.
    assert shares.sum() == pytest.approx(evidence.object_phrase_weight * evidence.object_phrase, abs=1e-5)


def test_slots_name_the_frame_that_won(explained):
    _, _, evidence = explained
    for slot in evidence.slots:
        assert slot.time == evidence.times[slot.frame]
        assert slot.share == pytest.approx(1.5 * slot.cosine / len(evidence.slots), abs=1e-6)


def test_event_curves_are_distributions_over_frames(explained):
    model, _, evidence = explained
    assert evidence.events.shape == (3, model.config.frames)
    assert (evidence.events >= 0).all()
    np.testing.assert_allclose(evidence.events.sum(axis=1), 1.0, atol=1e-5)


def test_equal_events_are_named(toybox):
    """The authors' decoder of three layers makes its events equal; one of a single layer and the bundled one do not."""
    model = small_model(event_layers=3)
    assert explain_clip(model, QUERY, frames_of(model), times_of(model)).events_coincide
    for model in (small_model(), toybox):
        evidence = explain_clip(model, QUERY, frames_of(model), times_of(model))
        assert not evidence.events_coincide
        assert np.abs(evidence.events[0] - evidence.events[1]).max() > 1e-4


def test_event_curves_follow_both_decoders():
    """One frame changes: the curve is the event's attention to frame prototypes times theirs to the frames."""
    model = small_model()
    with torch.inference_mode():
        tokens = model.frame_tokens(model.normalise_pixels(frames_of(model)[None]))
        objects = model.object_prototypes(tokens)
        frames = model.frame_decoder(objects)
        attention = model.event_decoder(frames, objects[:, :, 0])[1][0]
        through = model.frame_decoder.frame_attention(objects)[0]
        curves = model.event_curves(model.video_head(tokens))[0]
    expected = [
        [sum(float(attention[event, i] * through[i, j]) for i in range(4)) for j in range(4)]
        for event in range(3)
    ]
    np.testing.assert_allclose(curves.numpy(), expected, atol=1e-6)
    # A frame prototype takes half of itself from its own class token.
    assert (through.diagonal() >= 0.5).all()


def test_a_word_left_out_costs_what_the_shorter_sentence_scores_less(explained):
    model, frames, evidence = explained
    for word, lost in zip(evidence.words, evidence.without, strict=True):
        if word.text:
            shorter = explain_clip(model, word.rest, frames, evidence.times)
            assert lost == pytest.approx(evidence.score - shorter.score, abs=1e-5)
        else:
            assert np.isnan(lost)


def test_a_model_with_a_joint_scorer_tells_its_probability(explained):
    model, frames, evidence = explained
    if model.joint_scorer is None:
        assert evidence.joint_score is None and evidence.to_dict()["joint_score"] is None
        return
    with torch.inference_mode():
        video = model.video_prototypes(model.normalise_pixels(frames[None]))
        logit = model.joint_logits(model.encode_text([QUERY]), video).item()
    assert evidence.joint_score == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-6)
    assert evidence.to_dict()["joint_score"] == evidence.joint_score


def test_a_single_word_cannot_be_left_out(toybox):
    assert np.isnan(explain_clip(toybox, "ball", frames_of(toybox), times_of(toybox)).without).all()


def test_heat_follows_the_thing_that_moves(toybox):
    """The map of the named thing is mirrored when the picture is."""
    size, length = toybox.config.image_size, toybox.config.frames
    rng = np.random.default_rng(5)
    same, tried = 0, 0
    for scene in itertools.islice(scene_stream("val", 9), 12):
        times = sample_times(0.0, scene.duration, length)
        frames = render(scene, times, size)
        query = describe_event(scene, 0, rng).text
        sides = []
        for pictures in (frames, np.ascontiguousarray(frames[:, :, ::-1])):
            heat = np.maximum(explain_clip(toybox, query, pictures, times).heat, 0)
            columns = heat.sum(axis=(0, 1))
            sides.append(float(columns @ np.arange(len(columns)) / columns.sum()))
        centre = (toybox.config.clip.grid - 1) / 2
        if abs(sides[0] - centre) > 0.25:
            tried += 1
            same += np.sign(sides[0] - centre) == -np.sign(sides[1] - centre)
    assert tried >= 4
    assert same >= 0.9 * tried


def test_json_holds_what_programs_need(explained):
    _, _, evidence = explained
    values = evidence.to_dict()
    assert {"score", "event_sentence", "object_phrase", "slots", "events", "winner"} <= values.keys()
    assert {"slot", "phrase", "words", "frame", "time", "cosine", "share"} == values["slots"][0].keys()
    assert [word["word"] for word in values["words"]] == [
        "a",
        "red",
        "ball",
        "falls",
        ",",
        "then",
        "it",
        "spins",
    ]


def test_an_empty_sentence(toybox):
    with pytest.raises(EmptyQuery):
        explain_clip(toybox, "  ", frames_of(toybox), times_of(toybox))


def test_no_vocabulary():
    model = small_model()
    model.tokenizer = None
    with pytest.raises(NeedsTokenizer):
        explain_clip(model, QUERY, frames_of(model), times_of(model))
