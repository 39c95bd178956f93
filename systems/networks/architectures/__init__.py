"""Run files name the networks that are declared here."""
