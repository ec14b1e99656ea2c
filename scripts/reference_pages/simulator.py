"""The page about every fault of the simulated Kraken, from its table of named."""

from __future__ import annotations

from kraken_sim.faults import named
from reference_pages.markdown import code, page, table


def simulator_faults() -> str:
    """Write the page."""
    rows = (
        (
            code(name),
            ", ".join(map(code, sorted(named.OPTIONS.get(name, ())))),
            ", ".join(map(code, sorted(named.DEFAULT_ENDPOINTS.get(name, ())))) or "where it makes sense",
            named.EFFECTS[name],
        )
        for name in named.EFFECTS
    )
    return page(
        "Faults of the simulated Kraken",
        "`POST /_sim/faults` with `name`, its options, and where it strikes: `account`, `endpoint`, "
        "`order` (any name "
        "of an order), `nth` (from the n-th opportunity on), `probability` (by the seed), `count`. `GET "
        "/_sim/truth` "
        "lists every one that fired. [The simulator](../../include/kraken_sim/README.md) says more.",
        table(("fault", "options", "strikes by default", "effect"), rows),
    )
