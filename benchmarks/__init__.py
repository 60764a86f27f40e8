"""Measurements that the documentation quotes; run by hand, `python -m benchmarks.NAME --help`."""
