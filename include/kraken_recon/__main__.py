"""``python -m kraken_recon COMMAND``."""

from __future__ import annotations

import sys

from kraken_recon.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
