"""One run is carried from its settings to its file here."""
