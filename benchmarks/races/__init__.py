"""Step sessions through the product's real statements in every order up to a bound, and look what is left."""

from __future__ import annotations

import sys

from benchmarks.figures import ROOT

# The desks, and the exchange in memory, are those of the tests.
sys.path.append(str(ROOT / "tests"))
