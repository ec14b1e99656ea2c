"""Logins with the rights of a deployment's: what the product does in tests, it does as one of them.

The URL that a test is given is the administrator's, who plants what no role may write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kraken_recon.database.rights import Role

if TYPE_CHECKING:
    import psycopg

# Every database of this server may be entered with it; the server listens on this machine alone.
PASSWORD = "recon-tests"


def login_of(role: Role) -> str:
    """Name the login of these tests that is a member of a role."""
    return role.replace("kraken_recon", "recon_tests")


def as_role(url: str, role: Role) -> str:
    """Return the URL for the login that is a member of a role."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{login_of(role)}:{PASSWORD}@{place}").geturl()


def as_writer(url: str) -> str:
    """Return the URL for what tasks, the watch and commands log in as."""
    return as_role(url, Role.WRITER)


def make_logins(admin: psycopg.Connection) -> None:
    """Make the logins, where this server does not have them; test runs side by side share them."""
    for role in Role:
        admin.execute(
            f"do $$ begin create role {login_of(role)} login password '{PASSWORD}' in role {role};"
            " exception when duplicate_object or unique_violation then null; end $$".encode()
        )
