"""A head whose shape comes from scans of people: ICT-FaceKit's statistics carried onto this head's mesh."""
