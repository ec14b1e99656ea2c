"""Openings whose place alone tells that they are wrong: temporaries, class attributes, defaults."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from session_lint import rules
from session_lint.imported_names import FUNCTIONS, last_name, path_of
from session_lint.kinds import HELD, SHARED, Kind, OpeningCall
from session_lint.vocabulary import CLOSERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from session_lint.what_opens_a_session import Scope

    Report = Callable[[ast.AST, str, str], None]

# They only borrow the connection that they are given.
_BORROWERS: Final = frozenset(
    {"read_sql", "read_sql_query", "read_sql_table", "to_sql", "execute_values", "execute_batch"}
)
# What gives back the thing itself, or enters it.
_NO_USE: Final = frozenset({"execution_options", "__enter__", "__aenter__", "enter_context"})


def check_temporaries(scope: Scope, report: Report) -> None:
    """Report what is opened where nothing can hold it."""
    if not scope.openings:
        return
    parents = {child: node for node in scope.nodes for child in ast.iter_child_nodes(node)}
    failing = {part for node in scope.nodes if _expects_failure(node) for part in ast.walk(node)}
    for node, opening in scope.openings.items():
        if opening.kind not in HELD | SHARED or opening.only_with or not opening.needs_closing:
            continue
        use = _use(node, parents)
        if not use or node in failing or (opening.kind is Kind.CURSOR and _has_named_owner(node)):
            continue
        if opening.is_generated and use == "dropped at once" and not _has_own_generator(node):
            continue  # it goes on with a generator that somebody holds
        code = rules.ENGINE if opening.kind in SHARED else rules.TEMPORARY
        report(node, code, f"this {opening.kind} is {use}, so nothing can close it")


def _expects_failure(node: ast.AST) -> bool:
    """Tell a test's ``with pytest.raises(...)``: what is opened in there is meant to fail."""
    return isinstance(node, (ast.With, ast.AsyncWith)) and any(
        "raises" in last_name(path_of(item.context_expr, {})).lower() for item in node.items
    )


def _use(node: ast.expr, parents: dict[ast.AST, ast.AST]) -> str:  # noqa: PLR0911 - one line per place
    """Say how the value is used up at once, or nothing if something holds it."""
    match parents.get(node):
        case ast.Await() as parent:
            return _use(parent, parents)
        case ast.Attribute(attr=name) as parent:
            call = parents.get(parent)
            if name in _NO_USE and isinstance(call, ast.Call):
                return _use(call, parents)
            return "" if name in CLOSERS else f"used for .{name} at once"
        case ast.Expr():
            return "dropped at once"
        case (ast.For() | ast.AsyncFor() | ast.comprehension()) as parent if parent.iter is node:
            return "iterated over at once"
        case ast.Yield():
            return "yielded without a name"
        case ast.keyword() as parent:
            return _loan(parents.get(parent))
        case parent:
            return _loan(parent)


def _loan(call: ast.AST | None) -> str:
    name = last_name(path_of(call.func, {})) if isinstance(call, ast.Call) else ""
    return f"lent to {name}()" if name in _BORROWERS else ""


def _has_named_owner(node: ast.expr) -> bool:
    """Tell a cursor that its connection closes, when a variable holds the connection."""
    owner = node.func.value if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else None
    return isinstance(owner, (ast.Name, ast.Attribute))


def _has_own_generator(node: ast.Call | ast.Subscript) -> bool:
    """Tell a step of a generator that is made for it and held by nobody."""
    if isinstance(node, ast.Subscript):
        return True
    source = node.args[0] if node.args else node.func
    return isinstance(source.value if isinstance(source, ast.Attribute) else source, ast.Call)


def check_kept(root: ast.AST, scope: Scope, report: Report) -> None:
    """Report sessions that a class or a default argument keeps."""
    if isinstance(root, ast.ClassDef):
        for statement in root.body:
            if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value is not None:
                for node, opening in _openings_at(statement.value, scope):
                    report(node, rules.KEPT, f"this {opening.kind} is kept in a class attribute")
    elif isinstance(root, (*FUNCTIONS, ast.Lambda)):
        for default in [*root.args.defaults, *(d for d in root.args.kw_defaults if d is not None)]:
            for node, opening in _openings_at(default, scope):
                report(node, rules.KEPT, f"this {opening.kind} is kept in a default argument")


def _openings_at(value: ast.expr, scope: Scope) -> Iterator[tuple[ast.expr, OpeningCall]]:
    opening = scope.opening_of(value)
    if opening is not None and opening.kind in HELD and not opening.only_with:
        yield value, opening
