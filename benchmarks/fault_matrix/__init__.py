"""Every fault of the simulated Kraken times every job: what is survived, told, recovered, and never wrong."""
