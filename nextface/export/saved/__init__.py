"""A finished result folder read back: what was fitted, and where its files are."""
