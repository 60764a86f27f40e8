"""Stage 4: what one person's face does in every frame of a film."""
