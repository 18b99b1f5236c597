"""A library of real videos made and searched by a dual encoder: nothing in `search/` knows which model it is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.model.released_models import written

import prost
from prost.errors import ModelMismatch, UsageError
from prost.model.checkpoint import load_for_search, save
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.dual_encoder import DualEncoder
from prost.model.encoding import VideoEncoder

QUERY = "a red ball falls and a cat runs"


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of random weights, as `transformers` writes it."""
    return written(request.param, tmp_path_factory.mktemp("released"))


@pytest.mark.parametrize("cells", [False, True])
def test_videos_are_indexed_and_found(folder: Path, cells: bool, toybox_folder: Path, tmp_path: Path) -> None:
    model = load_for_search(folder, "cpu", frames=4, cells=cells)
    assert isinstance(model, DualEncoder)
    library = prost.Library(tmp_path / "own.prost", model)
    report = library.add(toybox_folder)
    assert len(report.added) == 8 and report.failed == []
    paths = sorted(str(path) for path in toybox_folder.glob("*.mp4"))
    hits = library.search(QUERY, limit=8, all_duplicates=True)
    assert sorted(hit.path for hit in hits) == paths
    # A film that is one clip is sampled as encode_video samples it.
    text = model.encode_text([QUERY])
    whole = {hit.path: hit.score for hit in hits if hit.duration <= 12}
    assert whole
    for path, score in whole.items():
        expected = model.match(text, model.encode_video([path])).total.item()
        assert score == pytest.approx(expected, abs=0.02)  # 8-bit prototypes
    assert all(0 <= hit.start < hit.end <= hit.duration + 0.1 for hit in hits)
    library.optimize()
    scanned = library.search(QUERY, limit=8, coarse="scan", all_duplicates=True)
    assert [hit.path for hit in scanned] == [hit.path for hit in hits]
    assert library.add(toybox_folder).unchanged == paths


def test_an_equal_frame_passes_the_tower_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, passed = load_for_search(folder, "cpu", frames=4), []

    def counted(frames: torch.Tensor) -> torch.Tensor:
        passed.append(len(frames))
        return below_shift(frames)

    below_shift = model.below_shift
    monkeypatch.setattr(model, "below_shift", counted)
    frames = np.random.default_rng(0).integers(0, 256, (1, 4, 32, 32, 3), dtype=np.uint8)
    frames[:, 2:] = frames[:, :1]
    VideoEncoder(model).encode(np.concatenate([frames, frames]))
    assert sum(passed) == 2


def test_a_library_knows_its_dual_encoder(folder: Path, toybox_folder: Path, tmp_path: Path) -> None:
    model = load_for_search(folder, "cpu", frames=4)
    video = sorted(toybox_folder.glob("*.mp4"))[0]
    prost.Library(tmp_path / "own.prost", model).add(video)
    save(model, tmp_path / "ours")
    again = prost.Library(tmp_path / "own.prost", load_for_search(tmp_path / "ours", "cpu"))
    assert again.search(QUERY)[0].path == str(video)
    with pytest.raises(ModelMismatch):
        prost.Library(tmp_path / "own.prost", load_for_search(folder, "cpu", frames=4, cells=True))


def test_a_model_without_prototypes_is_refused(tmp_path: Path) -> None:
    small = {"image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64}
    save(CLIP4Clip(CLIP4ClipConfig.parse({"clip": {**small, "text_layers": 1, "vocabulary": 9}})), tmp_path)
    with pytest.raises(UsageError, match="is a CLIP4Clip; expected: a ProST or a dual encoder"):
        load_for_search(tmp_path)
    with pytest.raises(UsageError, match="has no object-phrase score; expected: a model that search knows"):
        prost.Library(tmp_path / "new.prost", prost.load(tmp_path))
    assert not (tmp_path / "new.prost").exists()
