"""Files of face models as their owners give them out: where they lie, how they are read."""
