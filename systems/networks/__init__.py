"""Deep networks under stochastic gradient descent, as systems of the same engine."""

from .architectures import (
    FullyConnected,
    LeNet5,
    MultilayerPerceptron,
    ResNet,
    SmallConvolutional,
    Toy,
    UserNetwork,
)

__all__ = [
    "FullyConnected",
    "LeNet5",
    "MultilayerPerceptron",
    "ResNet",
    "SmallConvolutional",
    "Toy",
    "UserNetwork",
]
