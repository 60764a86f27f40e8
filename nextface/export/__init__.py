"""From a reconstruction to files that other programs read."""
