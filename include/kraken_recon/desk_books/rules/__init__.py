"""What makes a desk's book right or wrong, why it is wrong, and what would be written to it."""

from __future__ import annotations
