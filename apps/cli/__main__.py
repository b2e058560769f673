"""``python -m apps.cli`` is ``cinquain``."""

import sys

from apps.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
