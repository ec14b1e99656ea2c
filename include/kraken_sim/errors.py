"""The two ways in which the simulator says no."""

from __future__ import annotations


class ApiError(Exception):
    """Kraken refuses: HTTP 200 with only ``error`` in the envelope."""

    def __init__(self, *codes: str) -> None:
        super().__init__(", ".join(codes))
        self.codes = codes


class ControlError(ValueError):
    """The control API was asked for something impossible; the message says what."""
