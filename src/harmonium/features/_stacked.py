"""A classifier of three channels that are a digit each, made of one of digits."""

from __future__ import annotations

__all__ = ["ByChannel", "digits"]

import torch
from torch import Tensor

from ..datasets import Dataset
from ._classifier import Classifier
from ._images import Images, images_of, training_images

PLACES = (100, 10, 1)


class ByChannel:
    """Reads the digits of an image channel by channel, and spells their number.

    Arguments:
        digits: The classifier of one channel.
    """

    def __init__(self, digits: Classifier) -> None:
        self.digits = digits
        self.seed, self.digest, self.accuracy = digits.seed, digits.digest, digits.accuracy

    def features(self, images: Images) -> Tensor:
        """Return the features of the channels side by side, shape (images, 3 * 128)."""
        return self.digits.features(_channels(images)).view(len(images), -1)

    def predict(self, images: Images) -> Tensor:
        """Return the number that each image spells, shape (images)."""
        return self.digits.predict(_channels(images)).view(-1, len(PLACES)) @ torch.tensor(PLACES)


def digits(data: Dataset, split: str, n: int) -> tuple[Images, Tensor]:
    """Return the channels of the first rows of a stacked data set as n images, and their digits."""
    images = training_images(data) if split == "train" else images_of(data, split)
    rows = images.rows[: -(-n // len(PLACES))]
    channels = _channels(Images(rows, images.shape, images.white))
    labels = data.labels[split][: len(rows)]
    spelt = torch.stack([labels // place % 10 for place in PLACES], 1).flatten()
    return Images(channels.rows[:n], channels.shape, channels.white), spelt[:n]


def _channels(images: Images) -> Images:
    """Return each channel as an image of its own."""
    channels, height, width = images.shape
    return Images(images.rows.reshape(len(images) * channels, -1), (1, height, width), images.white)
