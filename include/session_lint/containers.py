"""Sessions in lists, sets and dictionaries: whether anybody takes them out again to close them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Final

from session_lint.imported_names import SCOPES, assigned_by, free_names, names_in, path_of
from session_lint.vocabulary import CLOSERS, KEEPERS

if TYPE_CHECKING:
    from session_lint.what_opens_a_session import Scope

_LOOKING: Final = KEEPERS | {"items", "keys", "values", "get"}


def is_never_emptied(container: ast.expr, scope: Scope) -> bool:
    """Tell a function's own container that is filled and looked at, whose sessions nobody closes or gets.

    Whatever else is done with it, such as returning it or passing it to a call, may close them.
    """
    if not isinstance(container, ast.Name) or scope.parent is None or container.id not in scope.kinds:
        return False
    name = container.id
    parents = {child: node for node in scope.nodes for child in ast.iter_child_nodes(node)}
    for node in scope.nodes:
        if isinstance(node, (ast.Global, ast.Nonlocal)) and name in node.names:
            return False
        if isinstance(node, SCOPES) and name in free_names(node):
            return False
        if isinstance(node, ast.Attribute) and node.attr in CLOSERS:
            return False
        if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
            match parents.get(node):
                case ast.Attribute(attr=attribute) if attribute in _LOOKING:
                    pass
                case ast.Subscript(value=value) | ast.For(iter=value) if value is node:
                    pass
                case _:
                    return False
    return _is_made_here(name, scope)


def _is_made_here(name: str, scope: Scope) -> bool:
    return any(
        isinstance(value, (ast.List, ast.Dict, ast.Set, ast.Call))
        and isinstance(target, ast.Name)
        and target.id == name
        for node in scope.nodes
        for target, value in assigned_by(node)
    )


def emptied_names(root: ast.AST) -> set[str]:
    """Name the containers, ``name`` or ``self.name``, whose contents are closed somewhere in a tree."""
    found: set[str] = set()
    for node in ast.walk(root):
        if isinstance(node, (ast.For, ast.AsyncFor)) and any(map(_closes_something, node.body)):
            found |= names_in(node.iter)
        elif (
            isinstance(node, ast.Attribute)
            and node.attr in CLOSERS
            and not path_of(node.value, {}).isidentifier()
        ):
            found |= names_in(node.value)
    return found


def _closes_something(statement: ast.stmt) -> bool:
    return any(isinstance(part, ast.Attribute) and part.attr in CLOSERS for part in ast.walk(statement))
