"""Benchmarks: versioned sets of rows, what judges them, and where they come from."""

from eval.benchmarks.definition import Benchmark, BenchmarkRow
from eval.benchmarks.loading import load_benchmark, names, suite
from eval.benchmarks.rows import rows_hash

__all__ = ["Benchmark", "BenchmarkRow", "load_benchmark", "names", "rows_hash", "suite"]
