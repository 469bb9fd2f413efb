"""``python -m mulletdaq``: the command line."""

import sys

from mulletdaq.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
