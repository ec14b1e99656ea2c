"""The kill matrix: what the whole deployment survives, and what a person sees of it."""

from __future__ import annotations

import sys

from benchmarks.figures import ROOT

# The services of docker-compose.yaml as processes are material of the tests.
sys.path.append(str(ROOT / "tests"))
