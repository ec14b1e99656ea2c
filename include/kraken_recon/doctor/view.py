"""What the doctor says, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kraken_recon.doctor.rules.diagnosis import Health

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def render_examination(view: Mapping[str, Any]) -> list[str]:
    """Write the worst first, each with what it means and what to do."""
    return [*_checks(view), "", _summary(view)]


def _checks(view: Mapping[str, Any]) -> Iterator[str]:
    width = max(len(one["check"]) for one in view["checks"])
    for one in view["checks"]:
        yield f"{one['health']:<11}  {one['check']:<{width}}  {one['what']}"
        for word in ("meaning", "remedy"):
            if one[word]:
                yield f"{'':<11}  {'':<{width}}  {'-> ' if word == 'remedy' else ''}{one[word]}"


def _summary(view: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count} {health}" for health, count in view["counts"].items() if count)
    verdict = "Healthy" if view["healthy"] else "Something is wrong"
    left = "; what was not checked may be wrong" if view["counts"][Health.NOT_CHECKED] else ""
    return f"{verdict}: {counts}, in {view['seconds']} s{left}. What the books say: report, alerts."
