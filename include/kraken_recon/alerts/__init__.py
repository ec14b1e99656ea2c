"""What a person must look at: kinds, rules, who is told, and jobs that fell silent."""

from __future__ import annotations
