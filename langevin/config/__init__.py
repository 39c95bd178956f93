"""Run files become validated settings here."""
