"""How many damages of a ledger are noticed."""
