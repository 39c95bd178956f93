"""One Langevin engine for glasses and deep networks."""
