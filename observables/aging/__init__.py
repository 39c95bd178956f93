"""The exponent of aging, and everything that it rests on, is computed here."""
