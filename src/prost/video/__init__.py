"""From video files to frames and their times: find, probe, sample, decode in isolated processes."""

from prost.video.decode import Frames, decode_frames
from prost.video.files import FoundVideos, content_hash, find_videos
from prost.video.fit import Fit
from prost.video.isolation import IsolatedDecoder
from prost.video.probe import VideoInfo, probe
from prost.video.reader import FailedWindow, ReadEnd, ReadRequest, ReadWindow, VideoReader
from prost.video.reasons import Reason
from prost.video.sampling import benchmark_times, clip_windows, sample_times

__all__ = [
    "FailedWindow",
    "Fit",
    "FoundVideos",
    "Frames",
    "IsolatedDecoder",
    "ReadEnd",
    "ReadRequest",
    "ReadWindow",
    "Reason",
    "VideoInfo",
    "VideoReader",
    "benchmark_times",
    "clip_windows",
    "content_hash",
    "decode_frames",
    "find_videos",
    "probe",
    "sample_times",
]
