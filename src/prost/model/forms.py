"""Other forms of the lower vision blocks: the same computation by another library or in another precision.

A form replaces `below_shift` of a model, where most of the work is. The blocks from the token shift on, the projection
and the head stay in torch. Nothing chooses a form by itself: `bench.encode` measures what each one gains and changes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from torch import Tensor, nn

from prost.model.encoding import VideoEncoder, VideoModel

OPSET = 18


@dataclass(frozen=True, kw_only=True)
class Form:
    """A way to compute the lower vision blocks on a CPU.

    Attributes:
        name: as it is shown.
        keeps_fp32: whether its prototypes must equal those of float32, apart from rounding.
        needs: packages that must be installed.
        encoder: makes the encoder of a model.
    """

    name: str
    keeps_fp32: bool
    needs: tuple[str, ...] = ()
    encoder: Callable[[VideoModel[Any]], VideoEncoder[Any]]

    @property
    def installed(self) -> bool:
        """Whether the packages are there."""
        return all(find_spec(package) is not None for package in self.needs)


class _Below(nn.Module):
    """`below_shift` as a module, which exporters ask for."""

    def __init__(self, model: VideoModel[Any]) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor) -> Tensor:
        return self.model.below_shift(frames)


def _example(model: VideoModel[Any]) -> Tensor:
    size = model.config.image_size
    return torch.zeros(2, 3, size, size, device=model.device)


def _in_torch(precision: Literal["fp32", "bf16"]) -> Callable[[VideoModel[Any]], VideoEncoder[Any]]:
    return lambda model: VideoEncoder(model, precision=precision)


def _in_onnx_runtime(*, int8: bool) -> Callable[[VideoModel[Any]], VideoEncoder[Any]]:
    def encoder(model: VideoModel[Any]) -> VideoEncoder[Any]:
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

    return encoder


def _export(model: VideoModel[Any], graph: Path) -> None:
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
    from onnxruntime.quantization import QuantType, quantize_dynamic

    smaller = graph.with_name("int8.onnx")
    quantize_dynamic(
        graph,
        smaller,
        weight_type=QuantType.QInt8,
        per_channel=True,
        op_types_to_quantize=["MatMul", "Gemm"],
        extra_options={"MatMulConstBOnly": True},
    )
    return smaller


def _in_openvino(precision: Literal["f32", "bf16"]) -> Callable[[VideoModel[Any]], VideoEncoder[Any]]:
    def encoder(model: VideoModel[Any]) -> VideoEncoder[Any]:
        import openvino

        size = model.config.image_size
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(_Below(model).eval(), example_input=_example(model))
        graph.reshape([-1, 3, size, size])
        compiled = openvino.Core().compile_model(
            graph,
            "CPU",
            {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": torch.get_num_threads()},
        )
        return VideoEncoder(
            model, below_shift=lambda frames: torch.from_numpy(compiled(frames.numpy())[0].copy())
        )

    return encoder


FORMS = (
    Form(name="fp32", keeps_fp32=True, encoder=_in_torch("fp32")),
    Form(name="bf16", keeps_fp32=False, encoder=_in_torch("bf16")),
    Form(
        name="onnx-fp32",
        keeps_fp32=True,
        needs=("onnx", "onnxruntime"),
        encoder=_in_onnx_runtime(int8=False),
    ),
    Form(
        name="onnx-int8",
        keeps_fp32=False,
        needs=("onnx", "onnxruntime"),
        encoder=_in_onnx_runtime(int8=True),
    ),
    Form(name="openvino-fp32", keeps_fp32=True, needs=("openvino",), encoder=_in_openvino("f32")),
    Form(name="openvino-bf16", keeps_fp32=False, needs=("openvino",), encoder=_in_openvino("bf16")),
)
