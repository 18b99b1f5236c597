"""The command line `prost`: one file a command."""

from prost.apps.cli.main import app, main

__all__ = ["app", "main"]
