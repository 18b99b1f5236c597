"""The bench of evidence: covering patches, and figures well above and below chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from prost.apps.cli import main
from prost.bench.evidence import covered


def test_patches_are_covered_with_the_mean_colour() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 6, 6, 3), dtype=np.uint8)
    shown = np.ones(2 * 3 * 3, bool)
    shown[[0, 2 * 9 - 1]] = False  # the first patch of the first frame, the last one of the last
    mean = frames.reshape(-1, 3).mean(axis=0).round()
    expected = frames.copy()
    expected[0, :2, :2] = mean
    expected[1, 4:, 4:] = mean
    np.testing.assert_array_equal(covered(frames, shown, 3), expected)


@pytest.mark.slow
def test_the_evidence_of_the_bundled_model_is_better_than_chance(tmp_path: Path) -> None:
    """Covering what the map names costs the score, covering elsewhere hardly does; the map points at what is named."""
    place = tmp_path / "evidence.json"
    assert main(["bench", "evidence", "--queries", "24", "--json", str(place)]) == 0
    values = json.loads(place.read_text())
    assert values["queries"] == 24
    assert values["pointing_interval"][0] <= values["pointing_accuracy"] <= values["pointing_interval"][1]
    assert values["pointing_accuracy"] > 5 * values["pointing_chance"] > 0
    assert values["deletion"] < 0.5 < values["deletion_chance"]
    assert values["insertion"] > values["insertion_chance"]
    assert values["moment_time_accuracy"] > 2 * values["event_time_chance"] > 0
    assert 0 <= values["event_time_accuracy"] <= 1
