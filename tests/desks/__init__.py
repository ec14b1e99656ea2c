"""What tests are made of: desks, fakes, histories. README.md says when to use which."""

from __future__ import annotations
