"""`prost mcp`: lets an assistant search a library, over the Model Context Protocol."""

from __future__ import annotations

import os
import sys

from prost.apps.cli.options import (
    DeviceOption,
    LibraryOption,
    ModelOption,
    expect_library_model,
    open_library,
)
from prost.apps.cli.output import say
from prost.errors import UsageError, install_extra


def mcp(
    library: LibraryOption,
    model: ModelOption = None,
    device: DeviceOption = "auto",
) -> None:
    """Let an assistant search a library and look at its videos, over the Model Context Protocol on stdin and stdout.

    The tools are search, explain and clip. None of them changes the library.
    """
    try:
        import mcp as _  # noqa: F401
    except ImportError:
        raise UsageError(
            "an assistant needs the package mcp, which is not installed",
            suggestion=install_extra("mcp"),
        ) from None
    from prost.apps.assistant import Assistant
    from prost.apps.assistant_server import serve
    from prost.search.library import Library

    # A wrong path or model is reported at once; the model is loaded while the assistant connects.
    with Library(library):
        expect_library_model(library, model)
    received = serve(Assistant(lambda: open_library(library, model, device)))
    if received is not None:
        say("stopped")
    # Not through Python's own shutdown: it aborts the process while a thread is still loading the model.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0 if received is None else 128 + received)
