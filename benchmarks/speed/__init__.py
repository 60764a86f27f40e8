"""How long reconstructions take, and what they use: `python -m benchmarks.speed`."""
