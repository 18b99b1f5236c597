"""Files with random damage: pictures or a reason, never a hang, a crash of this process or an impossible answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.video.fuzz import mutated, run, sound_files
from tests.video.zoo import ZOO


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_damage_is_survived(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    outcome = run(sound_files(tmp_path / "sound"), tmp_path, count=600, seed=0)
    assert not outcome.wrong
    assert outcome.shown + outcome.refused.total() == 600
    assert outcome.shown > 20 and outcome.refused.total() > 20, (
        "the damage is neither too weak nor too strong"
    )


def test_times_of_a_damaged_film_do_not_run_backwards(tmp_path: Path) -> None:
    """FFmpeg guesses the times of this film, and guesses them otherwise after a seek."""
    (film,) = (specimen for specimen in ZOO if specimen.name == "b_frames.avi")
    film.make(tmp_path / film.name)
    assert not run([tmp_path / film.name], tmp_path, count=300, seed=5).wrong


def test_the_same_seed_makes_the_same_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 4)
    assert list(mutated([path], 20, seed=3)) == list(mutated([path], 20, seed=3))
    assert list(mutated([path], 20, seed=3)) != list(mutated([path], 20, seed=4))
