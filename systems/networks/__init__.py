"""Deep networks under stochastic gradient descent, as systems of the same engine."""
