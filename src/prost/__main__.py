"""The process of a command: `prost`, and `python -m prost`, which `torchrun -m prost` needs."""

import gc
import os
import sys

from prost.apps.cli import main


def run() -> None:
    """Run the command line and end the process with its exit code."""
    code = main()
    if "WORLD_SIZE" in os.environ:
        # A process of a shared training: what torch still runs for communication can abort it while Python is taken
        # down, after everything was written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    if "triton" in sys.modules:
        # It reports what is not collected before the end as leaks of its own.
        gc.unfreeze()
    else:
        # Before it ends Python looks for garbage among all objects, several times: half a second after torch was
        # imported.
        gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    run()
