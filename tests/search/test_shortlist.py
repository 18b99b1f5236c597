"""Candidates of a coded library, with the part of their scores that the events give."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import prost.search.shortlist as module
from prost.model.matching import TextPrototypes
from prost.search.coding import Coding
from prost.search.library import Library
from prost.search.packs import pack_folder
from prost.search.scan import REFINED_OF_ONE_SLOT, REFINED_PER_CANDIDATE, refined_count, scan
from prost.search.shortlist import ScannedPacks, open_packs
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store


def test_candidates_of_the_scan_say_what_their_events_give(
    filled: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(filled.path)
    folder = pack_folder(store)
    assert folder is not None
    Coding(store, folder).run(smallest=1)
    opened, snapshot = open_packs(folder), ClipSnapshot(store, memory=2**20)
    assert opened is not None
    asked: list[int] = []

    def watched(tables, parts, count, allowed):  # type: ignore[no-untyped-def]
        asked.append(count)
        return scan(tables, parts, count, allowed)

    monkeypatch.setattr(module, "scan", watched)
    sizes = folder.sizes
    generator = torch.Generator().manual_seed(0)
    text = TextPrototypes(
        torch.randn(1, 3, sizes.width, generator=generator), torch.randn(1, sizes.width, generator=generator)
    )
    found = ScannedPacks(snapshot.rows, opened.books, opened.packs).find(text, 1.5, 20, None)

    assert len(found) == 20 and found.event is not None
    assert asked == [refined_count(20, sizes.objects)]
    sentence = torch.nn.functional.normalize(text.sentence[0], dim=0).numpy()
    clips = snapshot.reader(opened.pages).read(found.rows)
    event = torch.nn.functional.normalize(clips.event, dim=-1).numpy()
    assert found.event == pytest.approx((event @ sentence).max(axis=1), abs=0.02)
    assert found.parts().sum(axis=1) == pytest.approx(found.scores, abs=1e-6)
    assert (np.diff(found.scores) <= 0).all()


def test_more_clips_of_one_slot_are_refined() -> None:
    assert (
        refined_count(20, 1) == 20 * REFINED_OF_ONE_SLOT > refined_count(20, 2) == 20 * REFINED_PER_CANDIDATE
    )
