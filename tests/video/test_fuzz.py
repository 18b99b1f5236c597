"""Files with random damage: pictures or a reason, never a hang, a crash of this process or an impossible answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.video.fuzz import mutated, run, sound_files


@pytest.mark.timeout(300)
def test_damage_is_survived(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    outcome = run(sound_files(tmp_path / "sound"), tmp_path, count=600, seed=0)
    assert not outcome.wrong
    assert outcome.shown + outcome.refused.total() == 600
    assert outcome.shown > 20 and outcome.refused.total() > 20, (
        "the damage is neither too weak nor too strong"
    )


def test_the_same_seed_makes_the_same_damage(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 4)
    assert list(mutated([path], 20, seed=3)) == list(mutated([path], 20, seed=3))
    assert list(mutated([path], 20, seed=3)) != list(mutated([path], 20, seed=4))
