"""Which form encodes for a library, and that a library holds one class of precision."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import av
import numpy as np
import pytest

from prost.errors import FormRefused, LibraryError, UsageError
from prost.evaluation import form_gate, known_forms
from prost.evaluation.form_gate import FormReport
from prost.evaluation.known_forms import recall_forms, remember_forms
from prost.model.checkpoint import load_prost
from prost.model.forms import FORMS, form_named
from prost.model.prost import ProST
from prost.search import choosing_form
from prost.search.choosing_form import estimated_clips
from prost.search.description import read_description
from prost.search.library import Library
from prost.search.records import ClipSettings
from prost.search.store import CLIPS, VIDEOS, noted_description
from prost.video.files import look_at


@pytest.fixture
def model(untrained_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProST:
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "home"))
    return load_prost(untrained_folder, "cpu")


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the forms of which encoders are made."""
    names: list[str] = []
    make = choosing_form.encoder_of

    def noted(form, model):  # type: ignore[no-untyped-def]
        names.append(form.name)
        return make(form, model)

    monkeypatch.setattr(choosing_form, "encoder_of", noted)
    return names


def report(name: str, clips_per_s: float, passed: bool = True, setup_s: float = 0.0) -> FormReport:
    return FormReport(
        name=name,
        precision=form_named(name).precision,
        clips_per_s=clips_per_s,
        passed=passed,
        setup_s=setup_s,
    )


def test_a_long_indexing_measures_once_and_remembers(
    tmp_path: Path, toybox_folder: Path, model: ProST, monkeypatch: pytest.MonkeyPatch, used: list[str]
) -> None:
    monkeypatch.setattr(choosing_form, "MEASURED_FROM_CLIPS", 8)
    monkeypatch.setattr(choosing_form, "PROBE_CLIPS", 12)
    monkeypatch.setattr(form_gate, "FORMS", tuple(form for form in FORMS if form.name in ("fp32", "int8")))
    lines: list[str] = []
    with Library(tmp_path / "a.prost", model) as library:
        library.add(toybox_folder, announce=lines.append)
        (line,) = lines
        assert "measuring once" in line and "minutes" in line and "--form fp32" in line
        known = recall_forms(model)
        assert known is not None and [form.name for form in known] == ["fp32", "int8"]
        assert library.description.precision == form_named(used[0]).precision
    with Library(tmp_path / "b.prost", model) as library:
        library.add(toybox_folder, announce=lines.append)
    assert len(lines) == 1 and used[0] == used[1]


def test_a_short_indexing_measures_nothing(
    tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str]
) -> None:
    with Library(tmp_path / "a.prost", model) as library:
        library.add(toybox_folder, announce=lambda line: pytest.fail(line))
        library.add(toybox_folder)
        assert library.description.precision == "fp32"
    assert used == ["fp32"]  # nothing was left to encode the second time
    assert recall_forms(model) is None


def test_the_fastest_form_that_passed_gives_a_new_library_its_class(
    tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str]
) -> None:
    remember_forms(model, [report("fp32", 1), report("bf16", 9, passed=False), report("int8", 3)])
    place = tmp_path / "a.prost"
    with Library(place, model) as library:
        library.add(toybox_folder)
        assert library.search("a red ball falls")
    assert used == ["int8"]
    described = read_description(str(place))
    assert described is not None and described.precision == "int8"
    assert {noted_description(str(place), name) for name in (CLIPS, VIDEOS)} == {described}
    with (
        Library(place, model) as library,
        pytest.raises(LibraryError, match=r"computed in int8.*computes in fp32"),
    ):
        library.add(toybox_folder, form="fp32", verify=True, retry_failed=True)
        (tmp_path / "new").mkdir()
        (tmp_path / "new" / "copy.mp4").write_bytes(next(toybox_folder.glob("*.mp4")).read_bytes() + b"more")
        library.add(tmp_path / "new", form="fp32")
    assert not library.verify()


def test_an_existing_library_goes_on_in_its_class(
    tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str]
) -> None:
    first, *others = sorted(toybox_folder.glob("*.mp4"))
    with Library(tmp_path / "a.prost", model) as library:
        library.add(first)
        remember_forms(model, [report("fp32", 1), report("int8", 9), report("openvino-fp32", 3)])
        library.add(others)
        assert library.description.precision == "fp32"
    assert used == ["fp32", "openvino-fp32"]


def test_a_form_that_takes_long_to_make_is_left_out_for_a_few_clips(
    tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str]
) -> None:
    remember_forms(model, [report("fp32", 1), report("int8", 8), report("onnx-int8", 9, setup_s=60.0)])
    with Library(tmp_path / "a.prost", model) as library:
        library.add(toybox_folder)
    assert used == ["int8"]


def test_a_class_that_was_asked_for_stays(
    tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str]
) -> None:
    remember_forms(model, [report("fp32", 1), report("int8", 9)])
    with Library(tmp_path / "a.prost", model, precision="fp32") as library:
        library.add(toybox_folder)
        assert library.description.precision == "fp32"
    assert used == ["fp32"]


def test_a_form_chosen_by_hand(tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str]) -> None:
    with Library(tmp_path / "a.prost", model) as library:
        with pytest.raises(UsageError, match="form 'int4'"):
            library.add(toybox_folder, form="int4")
        library.add(toybox_folder, form="bf16")
        assert library.description.precision == "bf16"
    assert used == ["bf16"]


def test_a_library_that_another_process_began_keeps_its_class(
    tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str]
) -> None:
    first, second, *_ = sorted(toybox_folder.glob("*.mp4"))
    early = Library(tmp_path / "a.prost", model)
    with Library(tmp_path / "a.prost", model) as library:
        library.add(first, form="int8")
    early.add(second)
    assert early.description.precision == "int8" and used == ["int8", "int8"]


def test_a_form_that_cannot_be_made_leaves_the_library_as_it_was(
    tmp_path: Path, toybox_folder: Path, model: ProST, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prost.model.forms.find_spec", lambda package: None)
    with Library(tmp_path / "a.prost", model) as library:
        with pytest.raises(FormRefused, match="needs openvino"):
            library.add(toybox_folder, form="openvino-bf16")
        assert library.description.precision == "fp32" and not library.videos()


def test_lost_clips_are_encoded_again_in_the_class_of_the_library(
    tmp_path: Path, toybox_folder: Path, model: ProST
) -> None:
    with Library(tmp_path / "a.prost", model) as library:
        library.add(toybox_folder, form="int8")
        before = library.search("a red ball falls", recall=1.0)
        file = next(Path(library.path, "clips.lance", "data").iterdir())
        file.write_bytes(file.read_bytes()[:-100])
        assert library.repair().encoded
        after = Library(library.path, model).search("a red ball falls", recall=1.0)
    assert [(hit.path, hit.score) for hit in after] == [
        (hit.path, pytest.approx(hit.score)) for hit in before
    ]
    assert read_description(library.path).precision == "int8"  # type: ignore[union-attr]


def test_clips_are_estimated_from_a_few_files(toybox_folder: Path, tmp_path: Path, model: ProST) -> None:
    files = [look_at(str(path)) for path in sorted(toybox_folder.glob("*.mp4"))]
    with Library(tmp_path / "a.prost", model) as library:
        library.add(toybox_folder)
        assert estimated_clips(files, ClipSettings()) == library.stats().clips
    assert estimated_clips(files * 10, ClipSettings()) > 5 * len(files)
    assert estimated_clips(files, ClipSettings(longest=0.5)) > 2 * len(files)


def test_the_tiles_of_a_window_are_counted_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 144, 72, "yuv420p"
        picture = np.zeros((72, 144, 3), dtype=np.uint8)
        for _ in range(20):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        made.mux(stream.encode(None))
    files = [look_at(str(path))]
    assert [estimated_clips(files, ClipSettings(fit=fit)) for fit in ("crop", "tiles")] == [1, 2]


def test_a_remembered_form_that_cannot_be_made_now_gives_way_to_torch(
    tmp_path: Path, toybox_folder: Path, model: ProST, used: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such operator")

    remember_forms(model, [report("fp32", 1), report("onnx-int8", 9)])
    monkeypatch.setattr("prost.model.forms._export", fail)
    lines: list[str] = []
    with Library(tmp_path / "a.prost", model) as library:
        library.add(sorted(toybox_folder.glob("*.mp4"))[0], announce=lines.append)
        assert library.description.precision == "fp32"
    assert used == ["onnx-int8", "fp32"]
    (line,) = lines
    assert "no such operator" in line and line.endswith("the form fp32 is used instead")


def test_a_measurement_with_another_version_of_onnx_does_not_count(
    model: ProST, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember_forms(model, [report("fp32", 1)])
    assert recall_forms(model) is not None
    monkeypatch.setattr(known_forms, "version", lambda name: "0" if name == "onnx" else version(name))
    assert recall_forms(model) is None
