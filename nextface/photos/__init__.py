"""Files that hold photos, as upright linear pictures."""
