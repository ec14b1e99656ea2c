"""Register this project's page in the Airflow UI, what its deadlines count from, and a working Test button.

Every Airflow process imports this, each task's included, so nothing heavy is imported here: the page is made
by the API server at its first request. A second copy of the project is told of here, not when Airflow loads
the plugin: it loads the first of a name, which may be the other copy's.
"""

import logging

from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.configuration import conf

from kraken_airflow.dag_parts.deadlines import DueTime
from kraken_airflow.dag_parts.links import DashboardLink
from kraken_airflow.dashboard.lazy_app import LazyDashboard
from kraken_airflow.hooks.unset_ports import UnsetPorts
from kraken_recon.installed import second_copies

for copy in second_copies(conf.get("core", "plugins_folder", fallback="")):
    logging.getLogger(__name__).warning("%s", copy)


class KrakenReconPlugin(AirflowPlugin):
    """The page "Positions", in the navigation: a tab of DAGs would stand on those of every team."""

    name = "kraken_recon"
    deadline_references = [DueTime]  # noqa: RUF012 - Airflow's own declaration is not a ClassVar
    operator_extra_links = [DashboardLink()]  # noqa: RUF012 - the same
    fastapi_apps = [  # noqa: RUF012 - Airflow's own declaration is not a ClassVar
        {"app": LazyDashboard(), "url_prefix": "/kraken-recon", "name": "kraken-recon"}
    ]
    fastapi_root_middlewares = [  # noqa: RUF012 - the same
        {"middleware": UnsetPorts, "name": "kraken-recon: connections without a port"}
    ]
    external_views = [  # noqa: RUF012 - the same
        {
            "name": "Positions",
            "href": "/kraken-recon/",
            "destination": "nav",
            "url_route": "positions",
            "nav_top_level": True,
        },
    ]
