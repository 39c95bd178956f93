"""Everything that is written to disk is written here."""
