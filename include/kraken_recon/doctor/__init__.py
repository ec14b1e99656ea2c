"""What is wrong with an installation, what that means, and what to do."""

from __future__ import annotations
