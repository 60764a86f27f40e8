"""The order of things: one photo, several of one person, a folder of different people."""
