"""What the trading database grows by."""
