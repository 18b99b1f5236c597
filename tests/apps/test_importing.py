"""Imports without the collector; in processes of their own, since torch is loaded here."""

import gc
import subprocess
import sys

from prost.apps.cli.importing import collector_off


def printed(code: str) -> str:
    """What a new interpreter prints."""
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return finished.stdout.strip()


def test_what_is_imported_is_left_out_of_later_collections() -> None:
    code = """
import gc
from prost.apps.cli.importing import collector_off
runs = []
gc.callbacks.append(lambda phase, info: runs.append(phase))
with collector_off():
    import torch
print(len(runs), gc.isenabled(), gc.get_freeze_count() > 100_000)
"""
    assert printed(code) == "0 True True"


def test_a_failed_import_leaves_the_collector_on() -> None:
    code = """
import gc
from prost.apps.cli.importing import collector_off
try:
    with collector_off():
        import prost.no_such_module
except ImportError:
    print(gc.isenabled())
"""
    assert printed(code) == "True"


def test_a_process_that_has_torch_is_left_as_it_is() -> None:
    frozen = gc.get_freeze_count()
    with collector_off():
        assert gc.isenabled()
    assert gc.get_freeze_count() == frozen


def test_a_collector_that_is_off_stays_off() -> None:
    code = """
import gc
from prost.apps.cli.importing import collector_off
gc.disable()
with collector_off():
    import json
print(gc.isenabled(), gc.get_freeze_count())
"""
    assert printed(code) == "False 0"
