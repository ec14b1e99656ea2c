"""Install the wheel as other people do, into clean environments, and try in each what they need first.

It runs on the checkout's environment; the clean ones get the wheel and what it asks for, and nothing else.
The simulated Kraken and the PostgreSQL server run beside them.
"""
