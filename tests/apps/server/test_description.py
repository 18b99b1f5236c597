"""The API does what its own description says."""

from __future__ import annotations

from typing import Any

import pytest
from tests.apps.server.conftest import Running

from prost.apps.server.problems import PROBLEM


def operations(running: Running) -> list[tuple[str, str, dict[str, Any]]]:
    paths = running.get("/api/openapi.json")["paths"]
    return [(method, path, each) for path, methods in paths.items() for method, each in methods.items()]


def test_everything_is_described(running: Running) -> None:
    described = operations(running)
    assert len(described) >= 20
    for method, path, operation in described:
        assert path.startswith("/api/"), path
        assert operation["summary"] and operation["description"], (method, path)
        assert {"401", "429"} <= operation["responses"].keys(), (method, path)
        for status, answer in operation["responses"].items():
            if status.startswith(("4", "5")):
                assert list(answer["content"]) == [PROBLEM], (method, path, status)


@pytest.mark.slow
def test_what_schemathesis_finds(running: Running) -> None:
    """Requests drawn from the description, right and wrong ones, are answered as it states, and never by a 500.

    A sentence without a word, and times that make no moment, are refused though the description cannot say so.
    """
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_dict(running.get("/api/openapi.json"))
    schema.config.update(base_url=f"http://127.0.0.1:{running.port}")
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(case=operation.as_strategy())
        def check(case: Any) -> None:
            answer = case.call(timeout=60)
            assert answer.status_code < 500 or answer.status_code == 503, (case, answer.text)
            case.validate_response(answer, excluded_checks=[positive_data_acceptance])

        check()
