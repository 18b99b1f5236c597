import numpy as np
import pytest

from prost.bench.generator import (
    CLIPS_A_BLOCK,
    Blend,
    Generator,
    Recombination,
    blend,
    lookalikes,
    slot_means,
)
from prost.bench.real import RealPrototypes


def plain_blend(tracks: np.ndarray, recipe: Blend) -> np.ndarray:
    """The formula of the module's documentation, vector by vector in float64."""
    alive = np.any(tracks, axis=-1)
    made = np.zeros((*recipe.angle.shape, tracks.shape[-1]))
    for clip, slot, frame in np.ndindex(recipe.angle.shape):
        mean = tracks[:, slot][alive[:, slot]].astype(np.float64).mean(axis=0)
        own = tracks[recipe.own[clip, slot], slot, frame].astype(np.float64)
        partner = tracks[recipe.partner[clip, slot], slot, frame].astype(np.float64)
        angle = float(recipe.angle[clip, slot, frame])
        if own.any():
            vector = mean + np.cos(angle) * (own - mean) + np.sin(angle) * (partner - mean)
            made[clip, slot, frame] = vector / np.linalg.norm(vector)
    return made


def test_vectors_follow_the_formula(generator: Generator) -> None:
    block = generator.block(0, 40)
    made = generator.materialise(block)
    np.testing.assert_allclose(made.object, plain_blend(generator.tracks, block.object), atol=1e-5)
    events = plain_blend(generator.events, block.event)[:, :, 0]
    np.testing.assert_allclose(made.event, events, atol=1e-5)


def test_without_a_turn_the_real_vectors_come_out(real: RealPrototypes) -> None:
    generator = Generator(real, Recombination(object_turn=0.0, event_turn=0.0, foreign=0.0))
    block = generator.block(2, 50)
    np.testing.assert_allclose(
        generator.materialise(block).object, real.object[block.object.own[:, 0]], atol=1e-5
    )


def test_a_dead_vector_stays_dead_and_nothing_is_turned_to_one(
    real: RealPrototypes, generator: Generator
) -> None:
    everyone = np.arange(2, dtype=np.int32)
    slots, frames = real.object.shape[1:3]
    own, partner = (np.repeat(order[:, None], slots, axis=1) for order in (everyone, everyone[::-1]))
    angle = np.full((2, slots, frames), 0.4, np.float32)
    made = blend(real.object, slot_means(real.object), Blend(own=own, partner=partner, angle=angle))
    assert not made[0, -1, :2].any()
    np.testing.assert_allclose(np.linalg.norm(made[0, -1, 2:], axis=-1), 1, atol=1e-6)
    recipe = generator.block(0).object
    towards_the_dead = recipe.partner[:, -1] == 0
    assert towards_the_dead.any()
    assert not recipe.angle[towards_the_dead, -1, :2].any()
    assert recipe.angle[towards_the_dead, -1, 2:].all()


def test_a_block_is_the_same_whenever_and_however_much_of_it_is_made(real: RealPrototypes) -> None:
    one, other = (Generator(real, Recombination(seed=7)) for _ in range(2))
    other.block(0)
    whole, start = one.block(3), other.block(3, 10)
    assert whole.first == start.first == 3 * CLIPS_A_BLOCK
    np.testing.assert_array_equal(whole.object.angle[:10], start.object.angle)
    np.testing.assert_array_equal(whole.object.own[:10], start.object.own)
    np.testing.assert_array_equal(whole.event.partner[:10], start.event.partner)
    assert not np.array_equal(whole.object.angle, one.block(4).object.angle)
    assert not np.array_equal(
        whole.object.angle, Generator(real, Recombination(seed=8)).block(3).object.angle
    )


@pytest.mark.parametrize("clips", [1, CLIPS_A_BLOCK, CLIPS_A_BLOCK + 3])
def test_blocks_hold_every_clip_once(generator: Generator, clips: int) -> None:
    blocks = list(generator.blocks(clips))
    assert [block.first for block in blocks] == list(range(0, clips, CLIPS_A_BLOCK))
    assert sum(map(len, blocks)) == clips


def test_look_alikes_are_the_nearest_and_never_oneself(real: RealPrototypes) -> None:
    whole = real.event.mean(axis=1) + real.object[:, 0].mean(axis=1)
    whole = whole - whole.mean(axis=0)
    whole /= np.linalg.norm(whole, axis=1, keepdims=True)
    for video, found in enumerate(lookalikes(real, 0.1)):
        order = [other for other in np.argsort(-(whole @ whole[video])) if other != video]
        assert set(found) == set(order[:5])  # a tenth of the 59 others


def test_slots_of_one_clip_come_from_one_video_and_its_look_alike(generator: Generator) -> None:
    own = generator.block(0).object.own
    assert max(len(set(row)) for row in own) == 2
    foreign = (own != own[:, :1]).mean()
    assert foreign == pytest.approx(0.25 * 3 / 4, abs=0.02)  # never slot 0 of four
