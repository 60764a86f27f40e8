"""Every renderer against one reference: `python -m benchmarks.parity`."""
