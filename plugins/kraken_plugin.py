"""Register the plugin where this folder is Airflow's plugins folder and the project is not installed.

Where it is installed, as a wheel or from the checkout, its entry point does, and once is enough.
"""

from importlib.metadata import entry_points

if not entry_points(group="airflow.plugins", name="kraken_recon"):
    from kraken_airflow.plugin import KrakenReconPlugin
