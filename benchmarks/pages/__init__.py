"""How fast the pages answer."""
