"""`python -m clipopt`, the same as the `clipopt` command."""

import sys

from clipopt.cli import main

if __name__ == "__main__":
    sys.exit(main())
