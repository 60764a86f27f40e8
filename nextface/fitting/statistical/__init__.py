"""Stage 2: every coefficient of the statistical head, its pose, camera and light, from photo and landmarks."""
