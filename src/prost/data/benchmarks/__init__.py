"""The published benchmarks and one's own pairs, each to the same small records."""

from prost.data.benchmarks.loading import BENCHMARK_NAMES, load_benchmark

__all__ = ["BENCHMARK_NAMES", "load_benchmark"]
