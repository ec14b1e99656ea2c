"""Which sessions a function may leave open: a walk over all paths through its statements.

Conditions are not evaluated, with two exceptions: a test of a variable that holds a session, and a test of
the same names that decided whether it was opened.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from session_lint import rules
from session_lint.containers import is_never_emptied
from session_lint.imported_names import SCOPES, last_name, names_in, path_of
from session_lint.kinds import FOLLOWED, HELD, Kind
from session_lint.open_state import Exits, Resource, State, joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from session_lint.kinds import OpeningCall
    from session_lint.track_expressions import Tracker

_ENDS_PROCESS: Final = frozenset(
    {"sys.exit", "exit", "quit", "os._exit", "os.abort", "os.execv", "os.execvp"}
)
_CATCH_ALL: Final = frozenset({"Exception", "BaseException"})
_WRAP_CLOSING: Final = frozenset({"closing", "aclosing"})
_PASSES: Final = 2  # over a loop's body: the second one begins with what the first one left open


@dataclass
class Flow:
    """Walks the statements of one function.

    Attributes:
        tracker: follows the expressions.
        yields_raise: whoever drives the generator may raise at a yield; pytest does not.
        outer_names: names that belong to somebody else: ``global`` and ``nonlocal``.
        lost: what was replaced while it was open, by line.
        stored: what was assigned to an attribute or an item, with its target.
        loops: how many loops are around the statement.
        looping_yields: the yields inside of loops.
        generated: what loops over generators get.
        returned: what is returned, with the statement.
    """

    tracker: Tracker
    yields_raise: bool = True
    outer_names: frozenset[str] = frozenset()
    lost: dict[Resource, int] = field(default_factory=dict)
    stored: list[tuple[ast.expr, Resource]] = field(default_factory=list)
    loops: int = 0
    looping_yields: set[ast.AST] = field(default_factory=set)
    generated: frozenset[Resource] = frozenset()
    returned: list[tuple[ast.Return, Resource]] = field(default_factory=list)

    def block(self, statements: Sequence[ast.stmt], state: State) -> Exits:
        """Walk statements one after the other."""
        exits = Exits(state)
        for statement in statements:
            if exits.next is None:
                break
            exits = exits.then(self._statement(statement, exits.next))
        return exits

    def _statement(self, node: ast.stmt, state: State) -> Exits:  # noqa: PLR0911, C901 - one line per statement
        match node:
            case ast.If():
                return self._if(node, state)
            case ast.For() | ast.AsyncFor() | ast.While():
                return self._loop(node, state)
            case ast.With() | ast.AsyncWith():
                return self._with(node, state)
            case ast.Try() | ast.TryStar():
                return self._try(node, state)
            case ast.Match():
                return self._match(node, state)
            case ast.Return():
                return self._return(node, state)
            case ast.Raise():
                return Exits(raised=self._evaluated(node, state).leaving(node.lineno))
            case ast.Break():
                return Exits(broke=state)
            case ast.Continue():
                return Exits(continued=state)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                return self._assign(node, state)
        if isinstance(node, SCOPES):
            if self.tracker.scope.parent is None:
                return Exits(state)  # a global stays one, whichever function uses it
            return Exits(self.tracker.passed_on(node, state))
        return self._simple(node, state)

    def _evaluated(self, node: ast.AST, state: State) -> State:
        if self.loops:
            self.looping_yields.update(
                part for part in ast.walk(node) if isinstance(part, (ast.Yield, ast.YieldFrom))
            )
        return self.tracker.evaluate(node, state)

    def _raised(self, node: ast.AST, before: State, line: int) -> State | None:
        """Give the state in which an expression leaves by an exception; what it closes counts as closed."""
        may_raise = isinstance(node, ast.Assert) or self.tracker.may_raise(
            node, yields_raise=self.yields_raise
        )
        return before.leaving(line) if may_raise else None

    def _simple(self, node: ast.stmt, state: State) -> Exits:
        after = self._evaluated(node, state)
        is_other = len(after.open) != len(state.open)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            path = path_of(node.value.func, self.tracker.scope.imports)
            if path in _ENDS_PROCESS:
                return Exits()
        return Exits(after, raised=self._raised(node, after if is_other else state, node.lineno))

    def _return(self, node: ast.Return, state: State) -> Exits:
        if node.value is None:
            return Exits(returned=state.leaving(node.lineno))
        after = self._evaluated(node.value, state)
        carried = self.tracker.carried(node.value, after) - self.generated
        self.returned += [(node, resource) for resource in carried]
        for part in ast.walk(node.value):
            if isinstance(part, ast.Call) and self.tracker.scope.opening_of(part) is not None:
                carried |= self.tracker.named(part, after)
        after = self.tracker.release(after, carried)
        raised = self._raised(node.value, state, node.lineno)
        return Exits(returned=after.leaving(node.lineno), raised=raised)

    def _assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, state: State) -> Exits:
        if node.value is None or isinstance(node, ast.AugAssign):
            return self._simple(node, state)
        after = self._evaluated(node.value, state)
        raised = self._raised(node.value, state, node.lineno)
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            after = self._bind(target, node.value, after, node.lineno)
        return Exits(after, raised=raised)

    def _bind(self, target: ast.expr, value: ast.expr, state: State, line: int) -> State:
        if isinstance(target, (ast.Tuple, ast.List)):
            if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
                for part, part_value in zip(target.elts, value.elts, strict=True):
                    state = self._bind(part, part_value, state, line)
                return state
            drained = self.tracker.generated(value, state)
            for part in target.elts:
                is_given = not isinstance(part, ast.Starred)
                state = self._put(part, drained if is_given else frozenset(), {value}, state, line)
            return state
        return self._put(target, self.tracker.carried(value, state), set(ast.walk(value)), state, line)

    def _put(
        self, target: ast.expr, resources: frozenset[Resource], value: set[ast.AST], state: State, line: int
    ) -> State:
        fresh = [resource for resource in resources if resource.node in value]
        if isinstance(target, ast.Subscript) and is_never_emptied(target.value, self.tracker.scope):
            for resource in fresh:
                state = state.opened(resource, is_busy=False)
            return state
        if not isinstance(target, ast.Name) or target.id in self.outer_names:
            self.stored += [(target, resource) for resource in resources]
            return self.tracker.release(state, resources)
        before = state.names.get(target.id, frozenset())
        others = {r for name, held in state.names.items() if name != target.id for r in held}
        for resource in before - others:
            if resource in state.open and (resource not in resources or resource in fresh):
                self.lost.setdefault(resource, line)
        state = state.bound(target.id, resources)
        for resource in fresh:
            state = state.opened(resource, is_busy=_is_busy_at_once(resource.opening))
        return state

    def _tested(self, test: ast.expr, state: State) -> State:
        """Evaluate a condition; what it names within itself (``:=``) is bound as by an assignment."""
        state = self._evaluated(test, state)
        for part in ast.walk(test):
            if isinstance(part, ast.NamedExpr):
                state = self._bind(part.target, part.value, state, test.lineno)
        return state

    def _if(self, node: ast.If, state: State) -> Exits:
        tested = self._tested(node.test, state)
        raised = self._raised(node.test, state, node.lineno)
        when_true, when_false = _refined(node.test, tested)
        self.tracker.guards.append(names_in(node.test))
        then = self.block(node.body, when_true)
        otherwise = self.block(node.orelse, when_false)
        self.tracker.guards.pop()
        names = names_in(node.test)
        then, otherwise = (
            replace(then, next=_agreed(then.next, otherwise.next, when_false, names)),
            replace(otherwise, next=_agreed(otherwise.next, then.next, when_true, names)),
        )
        return Exits(raised=raised).then(then.beside(otherwise))

    def _loop(self, node: ast.For | ast.AsyncFor | ast.While, state: State) -> Exits:
        head = node.test if isinstance(node, ast.While) else node.iter
        start = self._tested(head, state)
        exits = Exits(raised=self._raised(head, state, node.lineno))
        self.loops += 1
        body = Exits()
        for _ in range(_PASSES):
            entry, element = start, frozenset[Resource]()
            if not isinstance(node, ast.While):
                element = self.tracker.generated(node.iter, start)
                entry = start.bound(path_of(node.target, {}), element)
            self.generated |= element
            for resource in element:
                entry = entry.opened(resource, is_busy=False)
            body = self.block(node.body, entry).but_for(element)
            start = joined(start, body.next, body.continued) or start
            exits = exits.then(replace(body, broke=None, continued=None))
        self.loops -= 1
        is_endless = isinstance(head, ast.Constant) and bool(head.value)
        after = Exits(body.broke)
        if not is_endless:
            ended = _refined(head, start)[1] if isinstance(node, ast.While) else start
            after = after.beside(self.block(node.orelse, ended))
        return exits.then(after)

    def _match(self, node: ast.Match, state: State) -> Exits:
        state = self._evaluated(node.subject, state)
        exits = Exits(state)
        for case in node.cases:
            exits = exits.beside(self.block(case.body, state))
        return exits

    def _with(self, node: ast.With | ast.AsyncWith, state: State) -> Exits:
        managed: frozenset[Resource] = frozenset()
        raised: State | None = None
        swallows = ""
        for item in node.items:
            may = self._raised(item.context_expr, state, node.lineno)
            raised = joined(raised, may.closed(managed) if may else None)
            state, closing = self._enter(item, state)
            managed |= closing
            swallows = swallows or _swallows(item.context_expr)
        body = self.block(node.body, state)
        self.tracker.released |= managed | {r for r in state.open if r.owners & managed}
        ways = (body.next, body.returned, body.raised, body.broke, body.continued)
        exits = Exits(*(way.closed(managed) if way else None for way in ways))
        if swallows and exits.raised is not None:
            left = exits.raised if swallows == "some" else None
            exits = replace(exits, next=joined(exits.next, exits.raised.leaving(0)), raised=left)
        return Exits(raised=raised).then(exits)

    def _enter(self, item: ast.withitem, state: State) -> tuple[State, frozenset[Resource]]:
        """Enter one context manager; the second value is what its end closes."""
        node, tracker = item.context_expr, self.tracker
        closes = False
        if isinstance(node, ast.Call) and node.args:
            closes = last_name(path_of(node.func, tracker.scope.imports)) in _WRAP_CLOSING
        inner = node.args[0] if closes and isinstance(node, ast.Call) else node
        opening = tracker.scope.opening_of(inner)
        if opening is not None and opening.kind in FOLLOWED:
            is_managed = closes or opening.with_closes or opening.only_with
            resource = tracker.resource(inner, opening, state, is_managed=is_managed)
            self._check_nesting(resource, state)
            held = frozenset({resource})
            state = self._evaluated(node, state)
            state = state.opened(resource, is_busy=_is_busy_at_once(opening))
        else:
            held = frozenset() if isinstance(inner, ast.Call) else tracker.carried(inner, state)
            state = self._evaluated(node, state)
        managed = frozenset(r for r in held if closes or r.is_managed or r.opening.with_closes)
        tracker.entered |= held - managed
        if item.optional_vars is not None:
            state = state.bound(path_of(item.optional_vars, {}), held)
        return state, managed

    def _check_nesting(self, resource: Resource, state: State) -> None:
        opening, text = resource.opening, ast.unparse(resource.node)
        for other in state.open:
            if other is resource or not other.is_managed:
                continue
            is_unit = opening.kind is Kind.UNIT and other.opening.kind is Kind.UNIT
            is_same = opening.kind is Kind.SESSION and ast.unparse(other.node) == text
            if is_unit or is_same:
                line = other.node.lineno
                message = f"a {opening.kind} is opened inside the one of line {line}"
                self.tracker.report(resource.node, rules.NESTED, message)
                return

    def _try(self, node: ast.Try | ast.TryStar, state: State) -> Exits:
        body = self.block(node.body, state)
        caught = (body.raised or state).leaving(0)
        exits = replace(body, next=None, raised=None if _catches_all(node) else body.raised)
        if body.next is not None:
            exits = exits.then(self.block(node.orelse, body.next))
        for handler in node.handlers:
            exits = exits.beside(self.block(handler.body, caught))
        return self._finally(node.finalbody, exits) if node.finalbody else exits

    def _finally(self, statements: Sequence[ast.stmt], exits: Exits) -> Exits:
        """Walk the finally block once for each way that leads into it; each goes on where it was going."""
        result = Exits()
        for way in ("next", "returned", "raised", "broke", "continued"):
            entry = getattr(exits, way)
            if entry is None:
                continue
            step = self.block(statements, entry)
            result = result.beside(replace(step, next=None))
            result = result.beside(Exits(**{way: step.next}))
        return result


def _is_busy_at_once(opening: OpeningCall) -> bool:
    """Tell whether it holds something before it is used; a session connects at its first statement."""
    return opening.kind in HELD - {Kind.SESSION} and opening.holds_transactions


def _agreed(one: State | None, other: State | None, other_entry: State, names: set[str]) -> State | None:
    """Take away what the other branch closed, if the test decides by the names that decided to open it."""
    if one is None:
        return None
    after = other.open if other is not None else {}
    closed = [resource for resource in other_entry.open if resource not in after] if other is not None else []
    return one.closed(r for r in closed if names & (r.guards | _names_of(r, one)))


def _names_of(resource: Resource, state: State) -> set[str]:
    return {name for name, held in state.names.items() if resource in held}


def _refined(test: ast.expr, state: State) -> tuple[State, State]:
    """Give the states in which a test is true and false: a variable that is None holds no session."""
    match test:
        case ast.Name() | ast.Attribute() | ast.NamedExpr():
            return state, _without(test, state)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            when_true, when_false = _refined(operand, state)
            return when_false, when_true
        case ast.Compare(left=left, ops=[ast.Is()], comparators=[ast.Constant(value=None)]):
            return _without(left, state), state
        case ast.Compare(left=left, ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return state, _without(left, state)
        case ast.BoolOp(op=ast.And(), values=values):
            refined = state
            for value in values:
                refined = _refined(value, refined)[0]
            return refined, state
    return state, state


def _without(node: ast.expr, state: State) -> State:
    name = path_of(node.target if isinstance(node, ast.NamedExpr) else node, {})
    return state.closed(state.names.get(name, frozenset())).bound(name, frozenset())


def _catches_all(node: ast.Try | ast.TryStar) -> bool:
    return any(
        handler.type is None or _CATCH_ALL & {last_name(path_of(part, {})) for part in _types(handler.type)}
        for handler in node.handlers
    )


def _swallows(node: ast.expr) -> str:
    """Say which exceptions a context manager keeps to itself: all, some, or none (empty)."""
    if not isinstance(node, ast.Call):
        return ""
    name = last_name(path_of(node.func, {}))
    if name == "suppress":
        return "all" if _CATCH_ALL & {last_name(path_of(part, {})) for part in node.args} else "some"
    return "all" if "raises" in name.lower() else ""


def _types(node: ast.expr) -> list[ast.expr]:
    return node.elts if isinstance(node, ast.Tuple) else [node]
