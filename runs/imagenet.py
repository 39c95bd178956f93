"""ImageNet as mapped files, and ResNet-50 from stored weights, for resnet50_imagenet.toml."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from langevin import DataSet
from langevin.config.keys import Section, key
from langevin.core.ensemble import Ensemble
from langevin.errors import UserError
from langevin.systems.networks.data.base import CountKey, Data, Examples, shares

#: Of the channels red, green, blue, between 0 and 1: those that published weights were trained with.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: Images, at equal distances, that the hash of a set looks at: all would take long to read.
HASHED = 100

COUNT = 'integer ≥ 1, or "all"'


class ImageNet(DataSet):
    """ILSVRC-2012: images cut to 224×224 once and for all, bytes in files that stay on the disk.

    The folder holds train_images.npy, uint8 of shape (P, 3, 224, 224), and train_labels.npy, integers from 0
    to 999 of shape (P,); test_images.npy and test_labels.npy are the 50,000 examples of the validation set.
    """

    classes = 1000

    class Parameters(Section):
        """What stands under [data]."""

        directory: str = key(
            "folder of the four files; relative to the working directory", default="imagenet"
        )
        train: CountKey = key("training examples: all, or a random subset", default="all", kind=COUNT)
        test: CountKey = key("test examples: all, or a random subset", default="all", kind=COUNT)

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters

    def mapped(self, which: str) -> Examples:
        """Return the images of a set, where they are, and its labels, in memory."""
        folder, found = Path(self.parameters.directory), []
        for name in (f"{which}_images.npy", f"{which}_labels.npy"):
            try:
                found.append(np.load(folder / name, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError) as error:
                raise UserError(f"data.directory = {str(folder)!r}: {name}: {error}") from None
        return Examples(found[0], found[1].astype(np.int64))

    def load(self, ensemble: Ensemble) -> Data:
        """Return both sets, and which examples each quenched sample learns from."""
        keys = self.parameters
        train, test = self.mapped("train"), self.mapped("test")
        rows = shares(ensemble, "data", len(train), keys.train)
        test_rows = shares(ensemble, "test data", len(test), keys.test)
        about = {"hash": f"{fingerprint(train)} {fingerprint(test)}", "source": str(keys.directory)}
        mean, deviation = np.array(MEAN), np.array(DEVIATION)
        scale, shift = (a.astype(np.float32) for a in (1 / (255 * deviation), -mean / deviation))
        return Data("imagenet", train, test, self.classes, scale, shift, rows, test_rows, about)


def fingerprint(examples: Examples) -> str:
    """Return a hash of the shape, all labels and some images of a set."""
    made = hashlib.sha256(repr(examples.inputs.shape).encode() + examples.labels.tobytes())
    for image in examples.inputs[:: max(1, len(examples) // HASHED)]:
        made.update(image.tobytes())
    return made.hexdigest()


def resnet50(classes: int, weights: str = "") -> nn.Module:
    """Return ResNet-50 of torchvision; with `weights`, the state_dict in this file.

    A run starts from the module as its factory returns it, running statistics of batch-norm included: so any
    trained network is a start.
    """
    from torchvision.models import resnet50 as built

    network: nn.Module = built(num_classes=classes)
    if weights:
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return network
