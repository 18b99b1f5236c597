"""`python -m prost`, which `torchrun -m prost` needs."""

import sys

from prost.apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
