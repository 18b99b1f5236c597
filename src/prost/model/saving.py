"""Replacing the files of a model together: an interrupted save leaves the old model or the new one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
# What a training says of the model that it made.
TRAINING = "training.json"
# The folder, inside that of the model, with the files of a save that is complete but has not moved all of them yet.
COMPLETE = ".saved"


@contextmanager
def replaced_together(folder: Path) -> Iterator[Path]:
    """An empty folder for new files, which replace those of a model when the block ends without an exception.

    The new files are flushed to the disk, and renaming their folder is the one moment that decides: before it the old
    model is there, after it the new one, since `finish_save` moves what an interruption left.

    Args:
        folder: of the model; made if absent. Files that the new model does not have stay, except the tokenizer.

    Raises:
        OSError: no space, no permission.
    """
    folder.mkdir(parents=True, exist_ok=True)
    finish_save(folder)
    new = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
    try:
        yield new
        for path in new.iterdir():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
        new.rename(folder / COMPLETE)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    finish_save(folder)


def finish_save(folder: Path) -> None:
    """Move the files of a save that was interrupted after it was complete; nothing if there is none.

    Raises:
        OSError: no permission.
    """
    new = folder / COMPLETE
    if not new.is_dir():
        return
    with suppress(FileNotFoundError):  # another process does the same
        # The weights are the first that are moved, so that nothing has been moved while they are there.
        if (new / WEIGHTS).is_file():
            if not (new / TOKENIZER).is_file():
                (folder / TOKENIZER).unlink(missing_ok=True)
            os.replace(new / WEIGHTS, folder / WEIGHTS)
        for path in sorted(new.iterdir()):
            os.replace(path, folder / path.name)
        new.rmdir()
