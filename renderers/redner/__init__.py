"""The backend that traces rays with redner, in an old Python of its own."""
