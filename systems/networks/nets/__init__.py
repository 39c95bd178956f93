"""Modules, losses, and the layout of their weights stand here."""
