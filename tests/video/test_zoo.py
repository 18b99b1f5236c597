"""Every specimen of the zoo, through a decoder in a process of its own, as indexing reads it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.video.conftest import numbers_of
from tests.video.zoo import ZOO, Specimen

from prost.errors import VideoError
from prost.video.isolation import IsolatedDecoder

SIZE = 32


@pytest.fixture(scope="module")
def decoder() -> Iterator[IsolatedDecoder]:
    with IsolatedDecoder(time_limit=30) as decoder:
        yield decoder


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    names = [specimen.name for specimen in ZOO]
    assert len(names) == len(set(names)) >= 60


@pytest.mark.parametrize("specimen", ZOO, ids=[each.name.encode("utf-8", "replace").decode() for each in ZOO])
@pytest.mark.timeout(60)
def test_what_comes_out_is_exact_or_refused(
    specimen: Specimen, tmp_path: Path, decoder: IsolatedDecoder
) -> None:
    path = tmp_path / specimen.name
    specimen.make(path)
    if specimen.reason is not None:
        with pytest.raises(VideoError) as refused:
            decoder.probe(path)
            decoder.decode(path, [0.0], SIZE)
        assert refused.value.reason == specimen.reason
        return
    info = decoder.probe(path)
    assert info.duration == pytest.approx(specimen.duration, abs=specimen.tolerance)
    if specimen.size is not None:
        assert (info.width, info.height) == specimen.size
    times = np.array([time for time, _ in specimen.shown])
    frames = decoder.decode(path, times, SIZE)
    assert numbers_of(frames.pixels) == [number for _, number in specimen.shown]
