"""One person in N photos: parameters, maps, light, cameras and checkpoints."""
