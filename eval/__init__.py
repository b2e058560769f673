"""Measuring a model on the tasks: metrics, benchmarks, statistics and reports; not in this version."""
