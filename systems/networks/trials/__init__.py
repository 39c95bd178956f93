"""Modules are tried here before a run relies on them."""
