"""Code of users that settings name is found, judged and loaded here."""
