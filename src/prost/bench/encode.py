"""What do other forms of the vision tower gain on this machine, and do they keep the ranking?"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from prost.evaluation.form_gate import FormReport, measure_forms
from prost.evaluation.known_forms import remember_forms
from prost.evaluation.machine import describe_machine
from prost.model.retrieval_model import RetrievalModel
from prost.progress import Advance


@dataclass(frozen=True, kw_only=True)
class EncodeReport:
    """The forms on one machine.

    Attributes:
        machine: see `describe_machine`.
        model: its name.
        clips: number of drawn clips whose ranking was compared.
        rounds: times that each form was timed.
        forms: float32 in torch first.
    """

    machine: dict[str, str | int]
    model: str
    clips: int
    rounds: int
    forms: list[FormReport]

    def to_dict(self) -> dict[str, Any]:
        """As it is written to a file."""
        return asdict(self)


def measure_encode(
    model: RetrievalModel[Any, Any], clips: int, rounds: int, progress: Advance
) -> EncodeReport:
    """Measure all forms, see `measure_forms`, and remember the result for `prost index`."""
    report = EncodeReport(
        machine=describe_machine(),
        model=model.config.name,
        clips=clips,
        rounds=rounds,
        forms=measure_forms(model, clips=clips, rounds=rounds, progress=progress),
    )
    remember_forms(model, report.forms)
    return report
