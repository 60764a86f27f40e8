"""Triangle meshes as arrays: nearest points, one head bent onto another, mirror images, UV layouts."""
