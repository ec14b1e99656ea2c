"""A small trading bot with tables of its own, which makes the mistakes that such bots make."""
