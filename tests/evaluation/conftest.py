"""The authors' matrices and numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def reference() -> dict[str, NDArray[Any]]:
    """What tests/golden/README.md says of post_processing.npz."""
    with np.load(Path(__file__).parent.parent / "golden" / "post_processing.npz", allow_pickle=False) as file:
        return dict(file)
