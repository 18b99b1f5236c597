"""`python -m prost`, which `torchrun -m prost` needs."""

import os
import sys

from prost.apps.cli import main

if __name__ == "__main__":
    code = main()
    if "WORLD_SIZE" in os.environ:
        # A process of a shared training: what torch still runs for communication can abort it while Python is taken
        # down, after everything was written.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
