"""A Kraken connection's fields as checked credentials, the same way for the command line and for Airflow.

Invariants:
1. Signed requests go only to an allowed host: whoever can edit a connection must not harvest signatures.
2. Plain http is for loopback hosts only.
3. No message, ``repr`` or chained exception holds a key.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kraken_recon.errors import ConfigurationError
from kraken_recon.kraken.egress_proxy import egress_proxy
from kraken_recon.kraken.rate_limits import DEFAULT_TIER, TIERS, UNLIMITED
from kraken_recon.plain_text import one_line
from kraken_recon.settings import ALLOWED_HOSTS, connection_variable
from kraken_recon.values.connection_fields import ConnectionFields, parse_connection
from kraken_recon.values.urls import is_bare, is_loopback

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

CONNECTION_TYPE: Final = "kraken"
KRAKEN_URL: Final = "https://api.kraken.com"
KRAKEN_DOMAIN: Final = "kraken.com"
DEFAULT_ALLOWED_HOSTS: Final = frozenset({ALLOWED_HOSTS.default})
PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True)
class KrakenCredentials:
    """One API key, where to use it, what it may spend, and the proxy on the way; empty for none."""

    api_key: str = field(repr=False)
    private_key: str = field(repr=False)
    base_url: str
    tier: str
    proxy: str = field(repr=False, default="")


def allowed_hosts(environ: Mapping[str, str]) -> frozenset[str]:
    """Read the names of the hosts that signed requests may go to."""
    return frozenset(map(str.lower, ALLOWED_HOSTS.listed(environ))) or DEFAULT_ALLOWED_HOSTS


def credentials_from_connection(
    conn_id: str,
    fields: ConnectionFields,
    *,
    allowed_hosts: Collection[str],
    environ: Mapping[str, str] = MappingProxyType({}),
) -> KrakenCredentials:
    """Check a connection's fields.

    Args:
        conn_id: named in every message.
        fields: ``host`` may be empty (Kraken), a bare host name (https) or a URL.
        allowed_hosts: host names that signed requests may go to.
        environ: where the proxy of all connections may be set.

    Raises:
        ConfigurationError: with what to change.
    """
    base_url = _base_url(conn_id, fields)
    hostname = urlsplit(base_url).hostname or ""
    if hostname not in allowed_hosts:
        raise ConfigurationError(
            f"connection {conn_id}: host {one_line(hostname)} is not allowed; correct the connection's"
            f" host, or add it to {ALLOWED_HOSTS.name} (now: {', '.join(sorted(allowed_hosts))})"
        )
    extra = _extra(conn_id, fields)
    return KrakenCredentials(
        api_key=_api_key(conn_id, fields.login),
        private_key=_private_key(conn_id, fields.password),
        base_url=base_url,
        tier=_tier(conn_id, extra, hostname),
        proxy=egress_proxy(conn_id, extra, environ, base_url),
    )


def credentials_from_environment(
    conn_id: str, environ: Mapping[str, str], *, allowed_hosts: Collection[str]
) -> KrakenCredentials:
    """Read the variable that Airflow reads for this connection, in its JSON or its URI form.

    Raises:
        ConfigurationError: the variable is missing, unreadable, or its fields are refused.
    """
    variable = connection_variable(conn_id)
    text = environ.get(variable, "").strip()
    if not text:
        raise ConfigurationError(f"connection {conn_id}: set {variable} to its JSON or URI")
    try:
        conn_type, fields = parse_connection(text)
    except ValueError as error:
        raise ConfigurationError(
            f"connection {conn_id}: {variable} is {error}; in a URI, every / + and = of a key must be"
            " percent-encoded"
        ) from None
    if conn_type not in (None, CONNECTION_TYPE):
        raise ConfigurationError(f"connection {conn_id}: expected type {CONNECTION_TYPE} in {variable}")
    return credentials_from_connection(conn_id, fields, allowed_hosts=allowed_hosts, environ=environ)


def _base_url(conn_id: str, fields: ConnectionFields) -> str:
    host = (fields.host or "").strip()
    if not host:
        if fields.port or (fields.schema or "").strip("/"):
            raise ConfigurationError(f"connection {conn_id}: a port or schema needs a host")
        return KRAKEN_URL
    scheme = (fields.schema or "").strip("/") or "https"
    try:
        parts = urlsplit(host if "://" in host else f"{scheme}://{host}")
        hostname, port = parts.hostname, parts.port
    except ValueError:
        hostname, port = None, None
    if not hostname or not is_bare(parts):
        raise ConfigurationError(
            f"connection {conn_id}: expected host to be empty, a host name, or a URL such as {KRAKEN_URL}"
        )
    if fields.port and not 0 < fields.port <= PORT_MAX:
        raise ConfigurationError(f"connection {conn_id}: expected a port of 1 to {PORT_MAX}")
    if port and fields.port and port != fields.port:
        raise ConfigurationError(
            f"connection {conn_id}: its host names port {port}, its port is {fields.port}"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(hostname)):
        raise ConfigurationError(
            f"connection {conn_id}: expected https, was {one_line(parts.scheme)}; http is for this machine"
            " only"
        )
    port = port or fields.port
    authority = f"[{hostname}]" if ":" in hostname else hostname
    return f"{parts.scheme}://{authority}{f':{port}' if port else ''}"


def _api_key(conn_id: str, login: str | None) -> str:
    api_key = (login or "").strip()
    if not api_key:
        raise ConfigurationError(f"connection {conn_id}: its login must be the API key")
    if not (api_key.isascii() and api_key.isprintable() and " " not in api_key):
        raise ConfigurationError(
            f"connection {conn_id}: its login is not an API key; copy it again from Kraken"
        )
    return api_key


def _private_key(conn_id: str, password: str | None) -> str:
    private_key = (password or "").strip()
    if not private_key:
        raise ConfigurationError(f"connection {conn_id}: its password must be the private key")
    try:
        base64.b64decode(private_key, validate=True)
    except (binascii.Error, ValueError):
        is_base64 = False
    else:
        is_base64 = True
    if not is_base64:
        raise ConfigurationError(
            f"connection {conn_id}: its password is not a private key (not base64); copy it again from Kraken"
        )
    return private_key


def _extra(conn_id: str, fields: ConnectionFields) -> Mapping[str, object]:
    try:
        return fields.extra_values()
    except ValueError:
        raise ConfigurationError(
            f"connection {conn_id}: expected extra to be JSON with tier one of {', '.join(TIERS)}"
        ) from None


def _tier(conn_id: str, extra: Mapping[str, object], hostname: str) -> str:
    tier = extra.get("tier", DEFAULT_TIER)
    if not isinstance(tier, str) or tier not in TIERS:
        raise ConfigurationError(
            f"connection {conn_id}: expected extra to be JSON with tier one of {', '.join(TIERS)}"
        )
    if tier == UNLIMITED and (hostname == KRAKEN_DOMAIN or hostname.endswith(f".{KRAKEN_DOMAIN}")):
        raise ConfigurationError(f"connection {conn_id}: tier {UNLIMITED} is refused for Kraken's own host")
    return tier
