"""The simulation behind docs/scale.md: closed forms, and what shards, replicas and hedges do to the tail."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from .conftest import ROOT, load_script

MEAN = 10.0

fan_out = load_script("fan_out")


def exponential(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return random.exponential(MEAN, shape)


def same(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.ones(shape)


@pytest.mark.parametrize("shards", [1, 4, 50])
def test_without_queues_the_slowest_of_exponential_times_is_the_harmonic_number(shards: int) -> None:
    times = fan_out.simulate(fan_out.Fan(shards=shards, load=0.0005), exponential, same, 6000)
    expected = MEAN * sum(1 / place for place in range(1, shards + 1))
    assert fan_out.expected_maximum(shards, MEAN) == pytest.approx(expected)
    # The deviation of the mean is that of one maximum (below 1.3 x the mean) over sqrt(6000).
    assert times.mean() == pytest.approx(expected, abs=5 * 1.3 * MEAN / np.sqrt(6000))


@pytest.mark.parametrize("load", [0.3, 0.6])
def test_one_replica_is_the_queue_of_the_textbook(load: float) -> None:
    # M/M/1: the mean time in the system is the mean service time over 1 - load.
    times = fan_out.simulate(fan_out.Fan(shards=1, load=load), exponential, same, 30_000)
    assert times.mean() == pytest.approx(MEAN / (1 - load), rel=0.06)


def p99(times: np.ndarray) -> float:
    return float(np.quantile(times, 0.99))


@given(seed=st.integers(0, 2**16), load=st.floats(0.05, 0.6))
def test_no_answer_comes_before_the_longest_of_its_parts_began(seed: int, load: float) -> None:
    fan = fan_out.Fan(shards=3, replicas=2, load=load, hedge=0.9)
    assert (fan_out.simulate(fan, exponential, same, 50, seed) > 0).all()
    constant = fan_out.simulate(fan, lambda random, shape: np.full(shape, MEAN), same, 50, seed)
    assert (constant >= MEAN - 1e-6).all()


def test_more_shards_have_a_longer_tail_and_more_replicas_a_shorter_one() -> None:
    machine, sentence = fan_out.log_normal(20, 60), fan_out.log_normal(1, 1.3)

    def tail(**fan: float) -> float:
        return p99(fan_out.simulate(fan_out.Fan(**fan), machine, sentence, 1500))

    tails = [tail(shards=shards, load=0.3) for shards in (1, 10, 100)]
    assert tails == sorted(tails) and tails[2] > 1.5 * tails[0]
    assert tail(shards=10, load=0.6, replicas=2) < tail(shards=10, load=0.6)
    assert tail(shards=10, load=0.1) < tail(shards=10, load=0.6)


def test_hedges_shorten_the_tail_of_machines_but_not_that_of_sentences() -> None:
    slow, even = fan_out.log_normal(20, 120), fan_out.log_normal(20, 22)
    steady, hard = same, fan_out.log_normal(1, 6)

    def ratio(machine, sentence) -> float:  # type: ignore[no-untyped-def]
        with_and_without = [
            p99(
                fan_out.simulate(
                    fan_out.Fan(shards=20, replicas=3, load=0.1, hedge=hedge), machine, sentence, 1500
                )
            )
            for hedge in (0.95, None)
        ]
        return with_and_without[0] / with_and_without[1]

    assert ratio(slow, steady) < 0.7
    assert ratio(even, hard) > 0.9


def test_a_log_normal_has_the_quantiles_that_it_was_given() -> None:
    drawn = fan_out.log_normal(40, 94)(np.random.default_rng(0), (200_000,))
    assert np.quantile(drawn, [0.5, 0.95]) == pytest.approx([40, 94], rel=0.02)


def test_figures_of_a_clip_are_those_that_were_measured() -> None:
    measured = fan_out.Measured.read()
    assert measured.rows[128] + measured.packs[128] == pytest.approx(21_498, abs=1)
    # 12 x 12 x 512 objects in 8 bits and 3 x 512 events in 32, beside what does not depend on the width.
    assert measured.rows[512] - measured.rows[128] == 144 * 384 + 12 * 384
    # Measured in 100,000 clips, among which the codebooks, 254 bytes a clip there, are shared by fewer.
    assert measured.rows[512] + measured.packs[512] == pytest.approx(82_767, abs=254)
    assert measured.median_ms(10**6, 128) == pytest.approx(20.557 + 9.602, abs=0.01)
    assert measured.median_ms(10**5, 512) == pytest.approx(9.251 + 8.489, abs=0.01)
    assert measured.clips_a_second == pytest.approx((0.4946 / 2, 1.8285 / 2), abs=1e-3)


@pytest.mark.slow
def test_the_tables_of_the_document_are_what_the_script_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["fan_out.py"])
    fan_out.main()
    printed = capsys.readouterr().out.strip().split("\n\n")
    document = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    assert len(printed) == 3
    assert all(table in document for table in printed)
