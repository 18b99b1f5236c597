"""The fused kernel: right in Triton's interpreter, and chosen on a GPU where it was faster."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from prost.model import fused

ROOT = Path(__file__).parents[2]


needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is for Linux")


@needs_triton
def test_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "tests/model/fused_in_interpreter.py"],
        cwd=ROOT,
        env={
            **os.environ,
            "TRITON_INTERPRET": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 5


@needs_triton
@pytest.mark.parametrize("with_winners", [False, True])
def test_it_compiles_for_a_gpu_and_uses_its_tensor_cores(
    with_winners: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to the machine code of a card of 2020; the interpreter accepts what the compiler refuses."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from prost.model.fused_kernel import best_of_slots

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    types = ["*bf16", "*bf16", "*fp32", "*fp32", "*i16", *["i32"] * 6, *["constexpr"] * 6]
    sizes = {"TEXTS": 4, "PHRASES": 32, "FRAMES": 8, "SLOTS": 16, "DEPTH": 64, "WITH_WINNERS": with_winners}
    source = ASTSource(
        best_of_slots, dict(zip(best_of_slots.arg_names, types, strict=True)), constexprs=sizes
    )
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": fused.WARPS})
    assert "mma" in compiled.asm["ptx"] and compiled.asm["cubin"]


def test_tensors_of_a_processor_never_go_to_it() -> None:
    assert not fused.is_faster(torch.ones(2, 3, 4), torch.ones(2, 3, 2, 4))


class TestChoice:
    """What decides is a measurement; on this machine without a GPU the two ways are replaced by what they cost."""

    @pytest.fixture(autouse=True)
    def without_a_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        fused._won.cache_clear()
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)

    @pytest.mark.parametrize("kernel_cost, won", [(1.0, True), (3.0, False)])
    def test_the_faster_one_wins(
        self, kernel_cost: float, won: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fused, "scores", lambda *_: None)
        costs = iter([kernel_cost, 2.0])
        monkeypatch.setattr(fused, "quickest", lambda run: next(costs))
        assert fused._won(torch.device("cpu"), torch.float32, torch.float32, (3, 2, 2, 8)) is won

    def test_a_kernel_that_cannot_be_compiled_is_told_once(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fails(*_: object) -> None:
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC environment variable")

        monkeypatch.setattr(fused, "scores", fails)
        for _ in range(2):
            assert not fused._won(torch.device("cpu"), torch.float32, torch.float32, (3, 2, 2, 8))
        assert [record.getMessage() for record in caplog.records] == [
            "matching on cpu: no fused kernel (Failed to find C compiler.)"
        ]
