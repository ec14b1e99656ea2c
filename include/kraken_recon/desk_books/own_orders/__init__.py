"""The desk's own orders: read from its database, found at Kraken, and given to the verification of orders."""
