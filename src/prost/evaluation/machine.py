"""The machine and the device that did some work, for the record that stands beside numbers."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import torch


def describe_machine() -> dict[str, str | int]:
    """Processor, cores, threads, and the versions that affect speed."""
    return {
        "processor": processor_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def processor_name() -> str:
    """The processor's model; its architecture where the system does not say more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def machine_facts(device: torch.device) -> dict[str, Any]:
    """What computes: system, architecture, processor or GPU, cores and threads.

    Args:
        device: the one that did the work, which need not be the fastest that the machine has.
    """
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def machine_line(device: torch.device) -> str:
    """The same in one line, without the machine's name.

    >>> machine_line(torch.device("cpu")).endswith("CPU threads")
    True
    """
    facts = machine_facts(device)
    if device.type == "cuda":
        used = facts["processor"]
    elif device.type == "cpu":
        used = f"{facts['threads']} CPU threads"
    else:
        used = device.type
    return f"{facts['system']} {facts['architecture']}, {facts['cores']} cores, {used}"
