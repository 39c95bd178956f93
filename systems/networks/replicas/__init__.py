"""All replicas of a network share calls and threads here."""
