"""Which calls wait for something else than the database, in this module or through a function of it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, Final

from session_lint.handing import name_of
from session_lint.imported_names import FUNCTIONS, path_of
from session_lint.kinds import Kind

if TYPE_CHECKING:
    from session_lint.what_opens_a_session import Scope

_VERBS: Final = "(get|post|put|patch|delete|head|options|request|stream|send)"
_WAITS: Final = re.compile(
    rf"^(requests|httpx)\.{_VERBS}$"
    r"|^(time|asyncio|trio|anyio|gevent|eventlet)\.sleep$"
    r"|^urllib\.request\.(urlopen|urlretrieve)$|^urllib3\.request$|^aiohttp\.request$"
    r"|^subprocess\.(run|call|check_call|check_output|getoutput|getstatusoutput)$|^os\.system$"
    r"|^asyncio\.wait$|^socket\.create_connection$"
    r"|\.query_(private|public)$"
)
_CLIENT_METHODS: Final = re.compile(rf"^({_VERBS}|run|urlopen|getresponse|wait|communicate)$")
_CLIENT_SOURCES: Final = frozenset(
    {"requests.Session", "httpx.Client", "httpx.AsyncClient", "aiohttp.ClientSession"}
)
_EXCHANGE_NAME: Final = re.compile(r"^(self\._?)?(exchange|kraken)(_client|_api|_hook)?$")


def waits(node: ast.Call, scope: Scope) -> bool:
    """Tell whether the call itself waits."""
    if len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0:
        return False  # sleep(0) only lets others run
    path = path_of(node.func, scope.imports)
    if _WAITS.search(path):
        return True
    receiver, _, method = path.rpartition(".")
    if not receiver:
        return False
    if receiver.removesuffix("()") in _CLIENT_SOURCES and receiver.endswith("()"):
        return bool(_CLIENT_METHODS.match(method))
    kind = scope.kind_of(receiver)
    if kind is Kind.CLIENT:
        return bool(_CLIENT_METHODS.match(method))
    return (
        kind is Kind.EXCHANGE or (kind is None and bool(_EXCHANGE_NAME.match(receiver)))
    ) and method != "close"


def waiting_functions(scopes: dict[ast.AST, Scope]) -> frozenset[str]:
    """Name the module's functions, ``name`` or ``self.name``, that wait whenever they are called.

    Two functions of the same name are one; one that any of them calls is looked for by name too.
    """
    calls: dict[str, set[str]] = {}
    found = set()
    for node, scope in scopes.items():
        if not isinstance(node, FUNCTIONS):
            continue
        name = name_of(node)
        made = [part for part in scope.nodes if isinstance(part, ast.Call)]
        calls.setdefault(name, set()).update(path_of(call.func, scope.imports) for call in made)
        if any(waits(call, scope) for call in made):
            found.add(name)
    while more := {name for name, called in calls.items() if called & found} - found:
        found |= more
    return frozenset(found)
