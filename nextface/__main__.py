"""`python -m nextface`, and where the command `nextface` begins."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C while it is loading is no error, either."""
    try:
        from nextface.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted before there was anything to keep.\n")
        sys.exit(130)


def leave_the_current_folder() -> None:
    """Import nothing from where the user happens to be: `python -m` begins the search there.

    Where this package itself is found there, it still is, but last.
    """
    if sys.path and not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
        package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        del sys.path[0]
        if package not in sys.path:
            sys.path.append(package)


if __name__ == "__main__":
    leave_the_current_folder()
    main()
