"""What a URL of a host is."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib.parse import SplitResult


def is_bare(parts: SplitResult) -> bool:
    """Tell whether a URL is a scheme, a host and a port, and nothing else."""
    return "@" not in parts.netloc and parts.path in {"", "/"} and not parts.query and not parts.fragment


def is_loopback(hostname: str) -> bool:
    """Tell whether a host is this machine."""
    if hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:
        return False
