"""Stage 1: pose, expression and identity from landmarks, and a first light."""
