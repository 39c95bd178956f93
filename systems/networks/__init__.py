"""Deep networks that learn by stochastic gradient descent."""
