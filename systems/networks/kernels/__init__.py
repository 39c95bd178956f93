"""Compiled code for networks on a CPU stands here."""
