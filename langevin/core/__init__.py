"""The engine, and everything that it knows of a system, stand here."""
