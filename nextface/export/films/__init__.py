"""A finished person under other light, and in motion: what is drawn, and the pictures and films of it."""
