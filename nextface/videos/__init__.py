"""Films: frames read one after another, upright, in sRGB; what is found of each; films written with sound."""
