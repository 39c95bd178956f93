"""Deep networks under stochastic gradient descent, as systems of the same engine.

Nothing is imported here: the data sets below serve commands that need no torch.
"""
