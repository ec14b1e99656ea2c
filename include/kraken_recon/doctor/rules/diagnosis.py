"""What the doctor says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Health(StrEnum):
    """How one thing is; what could not be looked at is never taken for well."""

    WRONG = "wrong"
    WARNING = "warning"
    NOT_CHECKED = "not checked"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at.

    Attributes:
        check: what it is, such as ``schema``.
        what: what was seen; of what was not checked, why.
        meaning: what follows for the desk.
        remedy: a command to give, or a page to read.
    """

    check: str
    health: Health
    what: str
    meaning: str = ""
    remedy: str = ""


def well(check: str, what: str) -> Diagnosis:
    """Say that something is as it should be."""
    return Diagnosis(check, Health.OK, what)


def warning(check: str, what: str, meaning: str, remedy: str) -> Diagnosis:
    """Say that something works and should be looked at."""
    return Diagnosis(check, Health.WARNING, what, meaning, remedy)


def wrong(check: str, what: str, meaning: str, remedy: str) -> Diagnosis:
    """Say that something does not work."""
    return Diagnosis(check, Health.WRONG, what, meaning, remedy)


def not_checked(check: str, why: str, remedy: str = "") -> Diagnosis:
    """Say that something could not be looked at, and why."""
    return Diagnosis(check, Health.NOT_CHECKED, why, remedy=remedy)
