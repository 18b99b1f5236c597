"""Captioned videos: benchmarks, own pairs, and Toybox."""
