"""An account of two years, through everything that reads its whole history."""
