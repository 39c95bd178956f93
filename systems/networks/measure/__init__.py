"""Everything that is measured of a network is measured here."""
