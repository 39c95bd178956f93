"""The response of networks to a field is measured here."""
