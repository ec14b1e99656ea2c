"""What methods are called that close a session, end its transaction, or take it over."""

from __future__ import annotations

from typing import Final

CLOSERS: Final = frozenset(
    [
        "close",
        "aclose",
        "dispose",
        "remove",
        "terminate",
        "closeall",
        "close_all",
        "disconnect",
        "shutdown",
        "stop",
        "release",
        "quit",
        "invalidate",
        "__exit__",
        "__aexit__",
    ]
)
CACHES: Final = frozenset({"lru_cache", "cache", "cached", "alru_cache", "memoize"})
ENDERS: Final = frozenset({"commit", "rollback", "expunge_all"})
# An exit stack, or a test case, enters what it is given and gives back what that gives.
ENTERERS: Final = frozenset(
    {"enter_context", "enter_async_context", "enterContext", "enterAsyncContext", "enterClassContext"}
)
# A container keeps what it is given.
KEEPERS: Final = frozenset({"append", "appendleft", "insert", "add", "setdefault"})
TAKERS: Final = (
    ENTERERS
    | KEEPERS
    | frozenset(
        [
            "putconn",
            "release",
            "push",
            "push_async_exit",
            "callback",
            "push_async_callback",
            "addfinalizer",
            "addCleanup",
            "addAsyncCleanup",
            "addClassCleanup",
            "addModuleCleanup",
            "register",
            "finalize",
            "set",
            "put",
            "put_nowait",
        ]
    )
)
MAY_FAIL: Final = ENTERERS | {"insert", "put", "put_nowait"}
# What a session does for those who do not hold it themselves, such as users of a registry.
SESSION_USES: Final = frozenset(
    [
        "add",
        "add_all",
        "bulk_insert_mappings",
        "bulk_save_objects",
        "bulk_update_mappings",
        "connection",
        "delete",
        "execute",
        "flush",
        "get",
        "get_one",
        "merge",
        "query",
        "refresh",
        "scalar",
        "scalars",
        "stream",
        "stream_scalars",
    ]
)
