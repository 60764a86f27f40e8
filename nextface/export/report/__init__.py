"""A finished person as a page to look at: one file, with figures, pictures and the head in 3D."""
