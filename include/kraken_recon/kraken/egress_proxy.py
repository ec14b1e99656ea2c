"""The proxy by which calls to Kraken leave, where one is set; ``HTTPS_PROXY`` and the like are not looked at.

Invariants:
1. A login for the proxy stands in a connection's extra alone: never in a variable, a message or a log.
2. What is not encrypted reaches no proxy but one of this machine: requests carry the key and its signature.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from kraken_recon.errors import ConfigurationError
from kraken_recon.settings import EGRESS_PROXY
from kraken_recon.values.urls import is_bare, is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMES: Final = ("http", "https")
EXAMPLE: Final = "http://proxy.internal:3128"
NONE: Final = "none"
# In a connection's extra; the last is so named that Airflow hides it.
FIELDS: Final = ("proxy", "proxy_login", "proxy_password")


def egress_proxy(conn_id: str, extra: Mapping[str, object], environ: Mapping[str, str], base_url: str) -> str:
    """Write the proxy's URL, with its login; empty for none.

    Args:
        conn_id: named in every message.
        extra: of the connection; its ``proxy`` goes before the variable, and ``none`` there means none.
        environ: where the variable for all connections may stand.
        base_url: where Kraken is reached.

    Raises:
        ConfigurationError: what is set is no proxy; the message quotes nothing of it.
    """
    values = [extra.get(name) or "" for name in FIELDS]
    if not all(isinstance(value, str) for value in values):
        raise ConfigurationError(f"connection {conn_id}: expected texts as {', '.join(FIELDS)} of its extra")
    own, login, password = map(str, values)
    text = own.strip() or environ.get(EGRESS_PROXY.name, "").strip()
    if not text or own.strip() == NONE:
        return ""
    scheme, authority, hostname = _parsed(text)
    if not authority:
        place = "the proxy of its extra" if own.strip() else EGRESS_PROXY.name
        raise ConfigurationError(
            f"connection {conn_id}: expected {place} to be a URL such as {EXAMPLE}, without a path, and"
            " without a login: that goes into proxy_login and proxy_password of the connection's extra"
        )
    if urlsplit(base_url).scheme != "https" and not is_loopback(hostname):
        raise ConfigurationError(
            f"connection {conn_id}: its host is on this machine and without https, so that a proxy elsewhere"
            f' would read its key; write "proxy": "{NONE}" into its extra'
        )
    if password and not login:
        raise ConfigurationError(f"connection {conn_id}: proxy_password of its extra needs a proxy_login")
    user = f"{quote(login, safe='')}:{quote(password, safe='')}@" if login else ""
    return f"{scheme}://{user}{authority}"


def without_login(proxy: str) -> str:
    """Name a proxy for a message."""
    return urlsplit(proxy).netloc.rpartition("@")[2]


def _parsed(text: str) -> tuple[str, str, str]:
    """Take a proxy's URL apart: scheme, host with port, and host; empty where it is none."""
    try:
        parts = urlsplit(text)
        hostname, _ = parts.hostname, parts.port
    except ValueError:
        return "", "", ""
    is_plain = text.isascii() and text.isprintable() and " " not in text
    if not (is_plain and hostname and parts.scheme in SCHEMES and is_bare(parts)):
        return "", "", ""
    return parts.scheme, parts.netloc, hostname
