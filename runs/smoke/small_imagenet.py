"""A few images in place of ImageNet, and a network for them, for resnet50_imagenet.toml."""

import sys
from pathlib import Path

import numpy as np
from torch import nn

from langevin.core.ensemble import Ensemble
from langevin.systems.networks.data.base import Data

sys.path.append(str(Path(__file__).resolve().parents[1]))
from imagenet import ImageNet

SIZES = {"train": 48, "test": 16}


class SmallImageNet(ImageNet):
    """The same four files, of random images of 3×16×16, which are written if they are not there."""

    classes = 10

    def load(self, ensemble: Ensemble) -> Data:
        """Write the files once; then all is as for the real ones."""
        folder, rng = Path(self.parameters.directory), np.random.default_rng(1)
        folder.mkdir(exist_ok=True)
        for which, size in SIZES.items():
            if not (folder / f"{which}_images.npy").exists():
                images = rng.integers(256, size=(size, 3, 16, 16), dtype=np.uint8)
                np.save(folder / f"{which}_images.npy", images)
                np.save(folder / f"{which}_labels.npy", rng.integers(self.classes, size=size))
        return super().load(ensemble)


def small_net(shape: tuple[int, ...], classes: int, filters: int = 4) -> nn.Module:
    """Return a convolution with batch-norm, the mean over all pixels, and a linear readout."""
    convolution = nn.Conv2d(shape[0], filters, 3, stride=2, bias=False)
    pooled = (nn.BatchNorm2d(filters), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(convolution, *pooled, nn.Linear(filters, classes))
