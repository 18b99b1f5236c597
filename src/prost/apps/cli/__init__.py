"""The command line `prost`: one file for each command."""

from prost.apps.cli.main import app, main

__all__ = ["app", "main"]
