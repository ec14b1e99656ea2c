"""What a name can stand for, and what a call can open."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a name stands for."""

    ENGINE = "engine"
    POOL = "pool"
    FACTORY = "session factory"
    SESSION = "session"
    CONNECTION = "connection"
    CURSOR = "cursor"
    UNIT = "unit of work"
    HOOK = "hook"
    LEAKY_HOOK = "hook whose connections a with block may leave open"
    CLIENT = "HTTP client or child process"
    EXCHANGE = "client of an exchange"
    REGISTRY = "session registry"
    GENERATOR = "generator of sessions"
    STACK = "exit stack"


HELD: Final = frozenset({Kind.SESSION, Kind.CONNECTION, Kind.CURSOR, Kind.UNIT})
SHARED: Final = frozenset({Kind.ENGINE, Kind.POOL})
# They hold nothing themselves, and close what came out of them or was put into them.
KEEPING: Final = frozenset({Kind.GENERATOR, Kind.STACK})
FOLLOWED: Final = HELD | SHARED | KEEPING


@dataclass(frozen=True, slots=True)
class OpeningCall:
    """What a call opens.

    Attributes:
        source: the path of what was called; two calls with the same source open the same kind of thing.
        with_closes: a with block closes it.
        only_with: it opens nothing until a with block enters it.
        needs_closing: somebody has to close it; not so for an engine without a pool.
        is_autocommit: it holds no transaction between statements.
        is_own: a function of the module opens it for its caller.
        is_generated: it came out of a generator, which ends with it or when nobody holds the generator.
        given: what the first step of a generator opens.
    """

    kind: Kind
    source: str
    with_closes: bool = True
    only_with: bool = False
    needs_closing: bool = True
    is_autocommit: bool = False
    is_own: bool = False
    is_generated: bool = False
    given: OpeningCall | None = None

    @property
    def holds_transactions(self) -> bool:
        """Whether using it may begin a transaction that somebody else could wait for."""
        return self.needs_closing and not self.is_autocommit
