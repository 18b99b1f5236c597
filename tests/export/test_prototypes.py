"""Prototypes in files of other programs are those that a search scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file
from tests.video.conftest import write_video

from prost.errors import BadFilter, MissingPath, UsageError
from prost.export import prototypes
from prost.export.prototypes import write_prototypes
from prost.model.prost import ProST
from prost.search.library import Library


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, toybox_model: ProST) -> Library:
    """Three videos, the second with several clips; the third is a copy of the first."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", 20)
    write_video(folder / "b.mp4", 300)
    (folder / "c.mp4").write_bytes((folder / "a.mp4").read_bytes())
    made = Library(folder.parent / f"{folder.name}.prost", toybox_model)
    made.add(folder)
    return made


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prototypes, "CLIPS_AT_ONCE", 2)


def test_npz(library: Library, tmp_path: Path, toybox_model: ProST) -> None:
    count = write_prototypes(tmp_path / "a.npz", library.path)
    read = np.load(tmp_path / "a.npz")
    config = toybox_model.config
    assert count == library.stats().clips == len(read["start"]) > 3
    assert read["object"].shape == (count, config.frames, config.object_prototypes, config.width)
    assert read["event"].shape == (count, config.event_prototypes, config.width)
    assert read["frame_times"].shape == (count, config.frames)
    assert str(read["fingerprint"]) == library.description.fingerprint
    names = [Path(str(read["paths"][place])).name for place in read["video"]]
    assert set(names) == {"a.mp4", "b.mp4"}
    assert len(set(read["key"].tolist())) == count
    text = toybox_model.encode_text(["a red ball falls"])
    hit = library.search("a red ball falls")[0]
    row = read["key"].tolist().index(hit.clip)
    assert names[row] == Path(hit.path).name
    assert (read["start"][row], read["end"][row]) == (hit.clip_start, hit.clip_end)

    def unit(x: np.ndarray) -> np.ndarray:
        return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)

    event = unit(read["event"][row]) @ unit(text.sentence[0].numpy())
    assert event.max() == pytest.approx(hit.event_sentence, abs=1e-4)
    cosines = np.einsum("lod,pd->lop", unit(read["object"][row]), unit(text.phrase[0].numpy()))
    assert cosines.max(axis=(0, 2)).mean() == pytest.approx(hit.object_phrase, abs=1e-4)


def test_all_formats_hold_the_same(library: Library, tmp_path: Path) -> None:
    for suffix in ("npz", "safetensors", "parquet"):
        write_prototypes(tmp_path / f"a.{suffix}", library.path)
    npz = np.load(tmp_path / "a.npz")
    tensors = load_file(tmp_path / "a.safetensors")
    table = pq.read_table(tmp_path / "a.parquet")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, npz[name])
        if name != "video":
            rows = np.array(table[name].to_pylist(), dtype=tensor.dtype).reshape(tensor.shape)
            np.testing.assert_array_equal(rows, tensor)
    with safe_open(tmp_path / "a.safetensors", "np") as file:
        metadata = file.metadata()
    assert json.loads(metadata["paths"]) == npz["paths"].tolist()
    assert table["key"].to_pylist() == npz["key"].tolist()
    assert table["path"].to_pylist() == [npz["paths"][place] for place in npz["video"]]
    shape = json.loads(table.schema.field("object").metadata[b"shape"])
    assert shape == list(npz["object"].shape[1:])
    assert table.schema.metadata[b"fingerprint"].decode() == library.description.fingerprint


@pytest.mark.parametrize("suffix", ["npz", "safetensors", "parquet"])
def test_a_filter_chooses_videos(library: Library, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"a.{suffix}"
    assert write_prototypes(output, library.path, where="name = 'c.mp4'") == 1
    assert write_prototypes(output, library.path, where="name = 'none'", force=True) == 0


def test_wrong_use(library: Library, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.parquet, \.npz or \.safetensors"):
        write_prototypes(tmp_path / "a.h5", library.path)
    with pytest.raises(BadFilter):
        write_prototypes(tmp_path / "a.npz", library.path, where="colour = = 3")
    with pytest.raises(MissingPath):
        write_prototypes(tmp_path / "a.npz", str(tmp_path / "none.prost"))
    assert list(tmp_path.iterdir()) == []
