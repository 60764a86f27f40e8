"""Where a detector's points lie on the surface of a face model."""
