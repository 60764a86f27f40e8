"""A film -> what one person does in it: the order of things."""
