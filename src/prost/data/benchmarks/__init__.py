"""The published benchmarks and own pairs, all read into the same records."""

from prost.data.benchmarks.loading import BENCHMARK_NAMES, load_benchmark

__all__ = ["BENCHMARK_NAMES", "load_benchmark"]
