"""What a link of the chain of seals is, and when one follows another.

A link names rows by their keys, with a hash of what each says; its own hash is over these and over the hash
of the link before. So no row and no link can be changed, taken out, put in or moved without another hash at
the end of the chain: who knows the last hash, knows them all.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

DIGEST_BYTES: Final = hashlib.sha256().digest_size
ROWS_MAX: Final = 5_000
"""Of one link."""
NOTHING: Final = bytes(DIGEST_BYTES)
"""Stands for the link before the first, and for a row that is not there."""


@dataclass(frozen=True, slots=True, order=True)
class Head:
    """The place in the chain of its last link, and the hash of that; written ``12:9f86d0...``."""

    seal_id: int = 0
    digest: bytes = NOTHING

    def __str__(self) -> str:
        return f"{self.seal_id}:{self.digest.hex()}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Read one as it is written.

        Raises:
            ValueError: it is none.
        """
        if not re.fullmatch(r"\d{1,18}:[0-9a-f]{64}", text, re.ASCII):
            raise ValueError("expected a place and a hash, as `seals head` prints them")
        place, _, digest = text.partition(":")
        return cls(int(place), bytes.fromhex(digest))


@dataclass(frozen=True, slots=True)
class Seal:
    """One link: rows of ``subject`` by key, each with the hash of its content.

    Attributes:
        note: why rows are sealed again that were sealed before; None for the first time.
        previous: the hash of the link before.
        digest: the hash that is on record for this one.
    """

    seal_id: int
    subject: str
    digests: Mapping[str, bytes]
    sealed_at: datetime
    note: str | None
    previous: bytes
    digest: bytes = NOTHING

    @property
    def head(self) -> Head:
        """The end of the chain, if this is its last link."""
        return Head(self.seal_id, self.digest)

    def computed_digest(self) -> bytes:
        """Hash all that the link says."""
        said = [
            self.previous.hex(),
            self.seal_id,
            self.subject,
            self.sealed_at.astimezone(UTC).isoformat(timespec="microseconds"),
            self.note,
            [[key, digest.hex()] for key, digest in self.digests.items()],
        ]
        return hashlib.sha256(json.dumps(said, separators=(",", ":")).encode()).digest()

    def broken_link(self, before: Head) -> str | None:
        """Say why it does not follow on ``before``; None where it does."""
        if self.seal_id != before.seal_id + 1:
            return f"seal {before.seal_id + 1} is missing"
        if self.previous != before.digest:
            return "it does not continue the seal before it"
        if self.digest != self.computed_digest():
            return "it was changed: its hash is not that of what it says"
        return None
