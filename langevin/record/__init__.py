"""A run records what it measures here."""
