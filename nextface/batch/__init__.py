"""Long lists of photos of different people, on this machine's workers or on those of a cluster."""
