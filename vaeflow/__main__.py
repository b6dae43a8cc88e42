"""The console command `vaeflow` as a module: `python -m vaeflow`."""

import sys

from vaeflow.commands import entry

if __name__ == "__main__":
    sys.exit(entry.main())
