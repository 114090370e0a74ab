"""`python -m amint_core` is the command line, see `cli.py`."""

import sys

from amint_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
