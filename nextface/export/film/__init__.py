"""A finished track as files: arrays, curves, cameras, films."""
