"""A film made ready: the face in each frame, where it is cut, and which frames tell most of the person."""
