"""What each command of `nextface` does with its words: one module a command, or a family of them."""
