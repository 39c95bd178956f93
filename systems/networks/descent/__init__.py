"""Steps of gradient descent are taken here."""
