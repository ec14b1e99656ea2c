"""What a certificate holds, and whether it holds true."""

from __future__ import annotations
