"""Commands that work on results have one shell, and live here."""
