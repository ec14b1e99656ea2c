"""What a test or the demo makes happen."""

from __future__ import annotations
