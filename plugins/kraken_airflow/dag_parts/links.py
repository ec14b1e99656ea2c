"""Links from Airflow's own pages: from a task to the page that answers for it, from a DAG to its runbook.

Invariants:
1. A link is the same for every try of a task, and holds names only: no amount, no secret.
2. A DAG file parses whatever the variable for runbooks says; an address that nobody may follow is left out.
"""

from __future__ import annotations

import logging
import os
import re
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.configuration import conf

from kraken_airflow.dag_parts.defaults import OWNER
from kraken_recon.settings import RUNBOOK_URL

if TYPE_CHECKING:
    from collections.abc import Collection

    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

DASHBOARD: Final = "/kraken-recon/"
OWNER_SCHEMES: Final = frozenset({"http", "https", "mailto"})
_RUNBOOK: Final = re.compile(r"`docs/runbooks/(\w+)\.md`")
log = logging.getLogger(__name__)


class DashboardLink(BaseOperatorLink):
    """A button on the task's page in Airflow."""

    @property
    def name(self) -> str:
        """What the button says."""
        return "Show on the dashboard"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002 - Airflow's signature
        """Give the address; a task process asks at the end of each try, with its fields rendered."""
        return airflow_path() + DASHBOARD + cast("OnDashboard", operator).dashboard_page()


class OnDashboard:
    """A task for which a page of the dashboard answers."""

    operator_extra_links: Collection[BaseOperatorLink] = (DashboardLink(),)
    page: ClassVar = ""

    def dashboard_page(self) -> str:
        """Name the page, below the dashboard's address."""
        return self.page


def airflow_path() -> str:
    """Say below which path Airflow is served, such as behind a proxy; empty where it has a host to itself."""
    return urlsplit(base_url()).path.rstrip("/")


def described(doc: str | None) -> dict[str, Any]:
    """Give a DAG its description and its owner a link: ``@dag(..., **described(__doc__))``.

    Both lead to the runbook that the description names, where the variable says, else on the dashboard.
    """
    text = doc or ""
    addresses = {name: runbook_address(name) for name in _RUNBOOK.findall(text)}
    owner_links = [address for address in addresses.values() if urlsplit(address).scheme in OWNER_SCHEMES]
    return {
        "doc_md": _RUNBOOK.sub(lambda found: f"[docs/runbooks/{found[1]}.md]({addresses[found[1]]})", text),
        "owner_links": {OWNER: owner_links[0]} if owner_links else {},
    }


def runbook_address(name: str) -> str:
    """Say where to read a runbook; without a host where Airflow does not know its own."""
    published = os.environ.get(RUNBOOK_URL.name, "").strip()
    if published:
        address = published.replace("{name}", name)
        parts = urlsplit(address)
        if parts.scheme in OWNER_SCHEMES and (parts.netloc or (parts.scheme == "mailto" and parts.path)):
            return address
        log.warning("%s: expected an http, https or mailto address, was %s", RUNBOOK_URL.name, published)
    return f"{base_url()}{DASHBOARD}docs?page=runbooks/{name}.md"


def base_url() -> str:
    """Say where Airflow is served, as its configuration names it; empty where it does not."""
    return str(conf.get("api", "base_url", fallback="")).rstrip("/")
