"""The head as file formats of engines hold it: in parts, with offsets by expression, in their reflectance."""
