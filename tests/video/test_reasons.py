"""What the system says about a file is told apart from what the file is."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.video.conftest import write_video

from prost.errors import SUGGESTIONS, VideoError
from prost.video.files import content_hash, look_at
from prost.video.reasons import Reason, reason_not_opened


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FileNotFoundError(errno.ENOENT, "x"), Reason.GONE),
        (NotADirectoryError(errno.ENOTDIR, "x"), Reason.GONE),
        (OSError(errno.ELOOP, "x"), Reason.GONE),
        (ValueError("embedded null byte"), Reason.GONE),
        (PermissionError(errno.EACCES, "x"), Reason.NO_PERMISSION),
        (OSError(errno.EMFILE, "x"), Reason.NOT_READ),
        (OSError(errno.EIO, "x"), Reason.NOT_READ),
        (OSError(errno.ESTALE, "x"), Reason.NOT_READ),
    ],
)
def test_each_error_has_its_reason(error: OSError | ValueError, reason: Reason) -> None:
    assert reason_not_opened(error) is reason


def test_suggestions_are_for_reasons_that_exist() -> None:
    assert set(SUGGESTIONS) <= {str(reason) for reason in Reason}
    assert "disk is mounted" in str(VideoError("a.mp4", Reason.GONE))
    assert "video player" in str(VideoError("a.mp4", Reason.NOTHING_DECODED))


WITHOUT_FILES = """
import os, resource, sys
from prost.errors import VideoError
from prost.video.container import open_video
from prost.video.files import content_hash

hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, hard))
for read in (content_hash, lambda path: open_video(path).__enter__()):
    try:
        read(sys.argv[1])
    except VideoError as error:
        print(error.reason)
"""


def test_a_process_without_a_free_file_does_not_call_a_video_damaged(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", 10)
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT_FILES, tmp_path / "a.mp4"], capture_output=True, text=True
    )
    assert said.stdout.split("\n") == [str(Reason.NOT_READ)] * 2 + [""], said.stderr
    assert content_hash(tmp_path / "a.mp4") and look_at(str(tmp_path / "a.mp4")).size == os.path.getsize(
        tmp_path / "a.mp4"
    )
