"""Images as matrix products while shape, pose and camera stand still."""
