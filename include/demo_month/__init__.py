"""A month of the demo in fast motion: real runs on the simulated exchange, by clocks that are behind."""
