"""What the stages minimise, and what they share to do so."""
