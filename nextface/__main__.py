"""`python -m nextface`."""

from nextface.cli import main

main()
