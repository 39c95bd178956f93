"""The spherical p-spin model."""
