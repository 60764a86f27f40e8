"""Stage 3: reflectance texel by texel."""
