"""The command line is declared here."""
