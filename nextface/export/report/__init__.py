"""A finished person as pages to look at: one file that needs no network, with figures, pictures and the head in 3D."""
