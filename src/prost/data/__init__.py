"""Captioned videos: the benchmarks, one's own pairs, and Toybox."""
