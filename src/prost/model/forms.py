"""Forms of the vision tower: the same computation in another precision, or by another library.

Forms in torch cover all vision blocks. ONNX Runtime and OpenVINO replace `below_shift`, where most of the work is; the
blocks from the token shift on, the projection and the head stay in torch. `evaluation.form_gate` measures what a form
gains and changes, and `search.choosing_form` chooses one.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from prost.errors import FormRefused, UsageError
from prost.model.bf16 import with_bf16_vision
from prost.model.encoding import PrecisionClass, VideoEncoder
from prost.model.int8 import with_int8_vision
from prost.model.retrieval_model import RetrievalModel

OPSET = 18
# Scaling and rounding take long where the numbers do not stay in the cache of a core.
INT8_BATCH_FRAMES = 8
# Largest difference that an entry of a unit prototype may have from torch's, for a form of the class fp32 and others.
LARGEST_DIFFERENCE: dict[PrecisionClass, float] = {"fp32": 1e-3, "bf16": 0.25, "int8": 0.25}


@dataclass(frozen=True, kw_only=True)
class Form:
    """A way to compute the vision tower.

    Attributes:
        name: as it is shown and chosen.
        precision: class of its prototypes. Those of the class fp32 equal each other apart from rounding; those of one
            of the other classes differ from float32 by no more than the bounds of `evaluation.form_gate`.
        needs: packages that must be installed.
        cpu_only: whether it computes on a CPU and nowhere else.
        encoder: makes the encoder of a model.
    """

    name: str
    precision: PrecisionClass
    needs: tuple[str, ...] = ()
    cpu_only: bool = True
    encoder: Callable[[RetrievalModel[Any, Any]], VideoEncoder[Any]]

    @property
    def missing(self) -> list[str]:
        """Packages that must be installed first."""
        return [package for package in self.needs if find_spec(package) is None]


def form_named(name: str) -> Form:
    """The form of a name.

    Raises:
        UsageError: there is none.
    """
    for form in FORMS:
        if form.name == name:
            return form
    raise UsageError(f"form {name!r}", f"auto or one of {', '.join(form.name for form in FORMS)}")


def form_of_class(precision: PrecisionClass) -> Form:
    """The form of a class of precision that needs no other package and runs on every device."""
    return form_named(precision)


def make_encoder(form: Form, model: RetrievalModel[Any, Any]) -> VideoEncoder[Any]:
    """Make the encoder of a form, and compare what it makes of a clip of noise with what torch makes of it.

    Raises:
        FormRefused: a package is missing, the model is on another device, the library of the form fails, or its
            prototypes differ from those of torch.
    """
    if form.missing:
        raise FormRefused(
            f"the form {form.name} needs {' and '.join(form.missing)}",
            suggestion=f"pip install {' '.join(form.missing)}, or --form fp32",
        )
    if form.cpu_only and model.device.type != "cpu":
        raise FormRefused(f"the form {form.name} is for a CPU, and the model is on {model.device}")
    try:
        encoder = form.encoder(model)
        if form.name != "fp32":
            _expect_alike(form, model, encoder)
    except FormRefused:
        raise
    except Exception as error:  # a graph that a library cannot run: each raises errors of its own
        reason = next(iter(str(error).strip().splitlines()), "")
        raise FormRefused(
            f"the form {form.name} cannot be made of {model.config.name} ({type(error).__name__}: {reason})",
            suggestion="--form fp32",
        ) from error
    return encoder


def _expect_alike(form: Form, model: RetrievalModel[Any, Any], encoder: VideoEncoder[Any]) -> None:
    config = model.config
    shape = (1, config.frames, config.image_size, config.image_size, 3)
    noise = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    expected, found = VideoEncoder(model).encode(noise), encoder.encode(noise)
    difference = max(
        float((normalize(one, dim=-1) - normalize(other, dim=-1)).abs().max())
        for one, other in zip(expected.tensors(), found.tensors(), strict=True)
    )
    if not difference <= LARGEST_DIFFERENCE[form.precision]:  # also where it is no number
        raise FormRefused(
            f"the form {form.name} computes something else than torch: a unit prototype differs by {difference:.2g}",
            f"at most {LARGEST_DIFFERENCE[form.precision]:g}",
            "--form fp32",
        )


class _Below(nn.Module):
    """`below_shift` as a module, which exporters ask for."""

    def __init__(self, model: RetrievalModel[Any, Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return self.model.below_shift(frames)


def _example(model: RetrievalModel[Any, Any]) -> Tensor:
    size = model.config.image_size
    return torch.zeros(2, 3, size, size, device=model.device)


def _is_ours(model: RetrievalModel[Any, Any]) -> bool:
    return hasattr(model.clip.towers, "vision_model")


def _in_bf16(model: RetrievalModel[Any, Any]) -> VideoEncoder[Any]:
    # open_clip's towers are not ours to rewrite, and on a GPU autocast rounds the weights in no time.
    if model.device.type != "cpu" or not _is_ours(model):
        return VideoEncoder(model, precision="bf16")
    rounded = with_bf16_vision(model)
    return VideoEncoder(model, below_shift=rounded.below_shift, from_shift=rounded.from_shift)


def _in_int8(model: RetrievalModel[Any, Any]) -> VideoEncoder[Any]:
    quantised = with_int8_vision(model)
    return VideoEncoder(
        model,
        batch_frames=INT8_BATCH_FRAMES if model.device.type == "cpu" else None,
        below_shift=quantised.below_shift,
        from_shift=quantised.from_shift,
    )


def _compiled(model: RetrievalModel[Any, Any]) -> VideoEncoder[Any]:
    # The number of frames differs from batch to batch: only distinct ones pass.
    return VideoEncoder(model, below_shift=torch.compile(model.below_shift, dynamic=True))


def _in_onnx_runtime(model: RetrievalModel[Any, Any], *, int8: bool) -> VideoEncoder[Any]:
    import onnxruntime

    with TemporaryDirectory(prefix="prost-form-") as folder:
        graph = Path(folder, "below.onnx")
        _export(model, graph)
        if int8:
            graph = _quantised(graph)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        # The program computes in torch between two calls: threads that wait busily would take its cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            graph.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    return VideoEncoder(
        model,
        below_shift=lambda frames: torch.from_numpy(session.run(None, {"frames": frames.numpy()})[0]),
    )


def _export(model: RetrievalModel[Any, Any], graph: Path) -> None:
    # The fused path of attention modules has no counterpart in ONNX.
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # It warns that the older exporter is old, and that shapes are read while it traces.
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Below(model).eval(),
                (_example(model),),
                str(graph),
                opset_version=OPSET,
                dynamo=False,
                input_names=["frames"],
                output_names=["states"],
                dynamic_axes={"frames": {0: "count"}, "states": {0: "count"}},
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _quantised(graph: Path) -> Path:
    """Weights of the linear layers in 8 bits; the range of their inputs is found at each call."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.quant_utils import add_pre_process_metadata

    smaller = graph.with_name("int8.onnx")
    whole = onnx.load(graph)
    # Without the mark, a line on stderr advises to simplify the graph first, which changes nothing in this one.
    add_pre_process_metadata(whole)
    quantize_dynamic(
        whole,
        smaller,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
        extra_options={"MatMulConstBOnly": True},
    )
    return smaller


def _in_openvino(model: RetrievalModel[Any, Any], *, precision: Literal["f32", "bf16"]) -> VideoEncoder[Any]:
    import openvino
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    size = model.config.image_size
    # OpenVINO's own convert_model does the same, and reports its use over the network.
    frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(_Below(model).eval(), example_input=_example(model))
        graph = frontend.convert(frontend.load(decoder))
    graph.reshape([-1, 3, size, size])
    compiled = openvino.Core().compile_model(
        graph,
        "CPU",
        {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()},
    )
    above: Callable[[Tensor], Tensor] | None = None
    if precision == "bf16" and _is_ours(model):  # its blocks from the token shift on are bfloat16, too
        rounded = with_bf16_vision(model)

        def above(states: Tensor) -> Tensor:
            return rounded.from_shift(states.bfloat16())

    return VideoEncoder(
        model,
        below_shift=lambda frames: torch.from_numpy(compiled(frames.numpy())[0].copy()),
        from_shift=above,
    )


ONNX = ("onnx", "onnxruntime")
# The first of each class is in torch; see `form_of_class`.
FORMS = (
    Form(name="fp32", precision="fp32", cpu_only=False, encoder=VideoEncoder),
    Form(name="bf16", precision="bf16", cpu_only=False, encoder=_in_bf16),
    Form(name="int8", precision="int8", cpu_only=False, encoder=_in_int8),
    Form(name="compile", precision="fp32", encoder=_compiled),
    Form(name="onnx-fp32", precision="fp32", needs=ONNX, encoder=partial(_in_onnx_runtime, int8=False)),
    Form(name="onnx-int8", precision="int8", needs=ONNX, encoder=partial(_in_onnx_runtime, int8=True)),
    Form(
        name="openvino-fp32",
        precision="fp32",
        needs=("openvino",),
        encoder=partial(_in_openvino, precision="f32"),
    ),
    Form(
        name="openvino-bf16",
        precision="bf16",
        needs=("openvino",),
        encoder=partial(_in_openvino, precision="bf16"),
    ),
)
