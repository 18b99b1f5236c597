"""Playing a moment in the player that is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from prost.errors import MissingPath, UsageError, one_of
from prost.object_store import is_remote
from prost.video.remote import copy_of

# Players that can be told where to begin, best first; each with the arguments for a start in seconds and a file.
# A file is named by an absolute path or a URI, so that no name can be taken for an option or a protocol.
OPENER_SECONDS = 3.0
PLAYERS = ("mpv", "vlc", "ffplay")
# Programs of the desktop that open a file in its usual program.
OPENERS = {"darwin": "open", "linux": "xdg-open"}


def play(path: str, start: float) -> str:
    """Play a video from a time on, in a program of its own that goes on after this one.

    Args:
        path: the video; of one on an object store a copy is played.
        start: seconds on the player's clock.

    Returns:
        what was done, one line.

    Raises:
        MissingPath: the file is gone.
        VideoError: it is gone from the object store.
        UsageError: there is neither a player nor a desktop.
    """
    video = copy_of(path) if is_remote(path) else Path(os.path.abspath(path))
    if not video.is_file():
        raise MissingPath(
            f"{path} is gone", "a file that is there", "prost index, to bring the library up to date"
        )
    for player in PLAYERS:
        if program := shutil.which(player):
            _start([program, *_arguments(player, video, start)])
            return f"playing {path} from {start:.1f} s with {player}"
    if sys.platform == "win32":
        os.startfile(video)
        return f"opened {path}; go to {start:.1f} s"
    if opener := shutil.which(OPENERS.get(sys.platform, "xdg-open")):
        if not _opens([opener, os.fspath(video)]):
            raise UsageError(
                f"{os.path.basename(opener)} found no program for {path}",
                one_of(PLAYERS),
                f"play it from {start:.1f} s yourself",
            )
        return f"opened {path} with {os.path.basename(opener)}, which cannot be told the time; go to {start:.1f} s"
    raise UsageError("no video player was found", one_of(PLAYERS), f"play {path} from {start:.1f} s yourself")


def _arguments(player: str, video: Path, start: float) -> list[str]:
    match player:
        case "mpv":
            return [f"--start={start:.3f}", "--", os.fspath(video)]
        case "vlc":
            return [f"--start-time={start:.3f}", video.as_uri()]
        case _:
            return ["-ss", f"{start:.3f}", "-i", f"file:{os.fspath(video)}"]


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    """Start a program without a shell; it keeps running when this process ends, and says nothing here."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _opens(command: list[str]) -> bool:
    """Whether a desktop's opener hands a file to a program; one that still runs after a while has done so."""
    try:
        return _start(command).wait(OPENER_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
