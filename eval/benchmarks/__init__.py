"""Benchmarks: versioned sets of rows, what judges them, and where they come from."""

from eval.benchmarks.definition import Benchmark, BenchmarkRow

__all__ = ["Benchmark", "BenchmarkRow"]
