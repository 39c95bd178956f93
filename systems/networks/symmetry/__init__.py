"""Units of a network may change places: which, and how those of two networks fit each other best."""
