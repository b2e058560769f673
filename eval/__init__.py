"""Measuring a model on the tasks: metrics, benchmarks, runs that resume, statistics, reports."""
