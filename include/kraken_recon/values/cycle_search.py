"""When Python looks for cycles of objects that nobody reaches any more."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def no_cycle_search() -> Iterator[None]:
    """Make very many objects without a search for cycles among them, in a block or a decorated function.

    A long ledger becomes hundreds of thousands of values that live to the end and refer to nothing behind
    them. Each time their number grows by a quarter Python would look through all of them again: half of the
    time that 200,000 fills take. Blocks may be nested, and be entered by several threads at once.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
