"""What may be open at a point of a function, and where control may go from there."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable

    from session_lint.kinds import OpeningCall


@dataclass(frozen=True, slots=True, eq=False)
class Resource:
    """One opening in the source; every run through it is the same resource.

    Attributes:
        is_managed: a with block or an exit stack closes it, whatever happens.
        guards: names that decide whether it is opened.
        owners: resources that close it when they are closed, such as a cursor's connection.
    """

    node: ast.expr
    opening: OpeningCall
    is_managed: bool = False
    guards: frozenset[str] = frozenset()
    owners: frozenset[Resource] = frozenset()


@dataclass(frozen=True, slots=True)
class State:
    """What may be, on any path that leads here.

    Attributes:
        names: the resources that each variable may hold.
        open: the resources that may be open, each with the line by which control left, 0 on the way.
        busy: the resources that may be within a transaction.
    """

    names: dict[str, frozenset[Resource]] = field(default_factory=dict)
    open: dict[Resource, int] = field(default_factory=dict)
    busy: frozenset[Resource] = frozenset()

    def opened(self, resource: Resource, *, is_busy: bool) -> State:
        """Add a resource."""
        busy = self.busy | {resource} if is_busy else self.busy
        return replace(self, open={**self.open, resource: 0}, busy=busy)

    def closed(self, resources: Iterable[Resource]) -> State:
        """Take resources away, with what they own."""
        gone = set(resources)
        if not gone:
            return self
        gone |= {resource for resource in self.open if resource.owners & gone}
        left = {resource: line for resource, line in self.open.items() if resource not in gone}
        return replace(self, open=left, busy=self.busy - gone)

    def replaced(self, old: Resource, new: Resource) -> State:
        """Go on with another resource in the place of one."""
        names = {name: (held - {old}) | {new} if old in held else held for name, held in self.names.items()}
        return State(names, {new if r is old else r: line for r, line in self.open.items()}, self.busy)

    def bound(self, name: str, resources: frozenset[Resource]) -> State:
        """Let a variable hold resources, or none."""
        names = {key: held for key, held in self.names.items() if key != name}
        return replace(self, names={**names, name: resources} if resources else names)

    def quiet(self, resources: Iterable[Resource]) -> State:
        """End the resources' transactions."""
        return replace(self, busy=self.busy.difference(resources))

    def used(self, resources: Iterable[Resource]) -> State:
        """Begin the resources' transactions."""
        return replace(self, busy=self.busy.union(resources))

    def leaving(self, line: int) -> State:
        """Note by which line control leaves, where that is not noted yet; 0 takes the note away."""
        if line:
            return replace(self, open={resource: at or line for resource, at in self.open.items()})
        return replace(self, open=dict.fromkeys(self.open, 0))


def joined(*states: State | None) -> State | None:
    """Join what may be on several paths."""
    given = [state for state in states if state is not None]
    if len(given) <= 1:
        return given[0] if given else None
    names: dict[str, frozenset[Resource]] = {}
    lines: dict[Resource, int] = {}
    for state in given:
        for name, held in state.names.items():
            names[name] = names.get(name, frozenset()) | held
        for resource, line in state.open.items():
            lines[resource] = min(lines.get(resource, line), line)
    return State(names, lines, frozenset().union(*(state.busy for state in given)))


@dataclass(frozen=True, slots=True)
class Exits:
    """The ways out of a statement or a block; None where there is no such way."""

    next: State | None = None
    returned: State | None = None
    raised: State | None = None
    broke: State | None = None
    continued: State | None = None

    def then(self, step: Exits) -> Exits:
        """Go on: the step begins where this ends."""
        return Exits(
            step.next,
            joined(self.returned, step.returned),
            joined(self.raised, step.raised),
            joined(self.broke, step.broke),
            joined(self.continued, step.continued),
        )

    def but_for(self, resources: frozenset[Resource]) -> Exits:
        """Close what a loop's generator gave where the loop goes on; an exception unwinds it too."""
        if not resources:
            return self
        ways = (self.next, self.continued, self.raised)
        gone = [way.closed(resources) if way is not None else None for way in ways]
        return replace(self, next=gone[0], continued=gone[1], raised=gone[2])

    def beside(self, other: Exits) -> Exits:
        """Join another branch."""
        return replace(self.then(other), next=joined(self.next, other.next))
