"""A video file becomes timestamps and pixels: find, probe, sample, decode (in a process that may die)."""

from prost.video.decode import Frames, decode_frames
from prost.video.files import FoundVideos, content_hash, find_videos
from prost.video.isolation import IsolatedDecoder
from prost.video.probe import VideoInfo, probe
from prost.video.reasons import Reason
from prost.video.sampling import benchmark_times, clip_windows, sample_times

__all__ = [
    "FoundVideos",
    "Frames",
    "IsolatedDecoder",
    "Reason",
    "VideoInfo",
    "benchmark_times",
    "clip_windows",
    "content_hash",
    "decode_frames",
    "find_videos",
    "probe",
    "sample_times",
]
