r"""Features of a random net: three convolutions whose weights are a function of a seed, and nothing else.

Each halves the image; :math:`\max(x, x/5)` follows. The weights are Gaussian, of a variance that keeps that
of the activations. The maps of the last one are averaged over the quarters of the image, which makes 128
features.

A random net of this kind keeps enough of an image to tell textures, contrast and shapes apart, knows no
classes, and favours no data. One such net is a matter of chance, so that numbers are averages over several
seeds.

References:
    | Demystifying randomly initialized networks for evaluating generative models (Lee, Kim & Lee, 2022)
"""

from __future__ import annotations

__all__ = ["RandomFeatures"]

from itertools import pairwise
from math import sqrt

from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, conv2d, leaky_relu

from ..errors import DataError, invalid
from ..random import Stream
from ._images import LEAST, MOST, Images

WIDTHS = (32, 64, 32)
KERNEL, SLOPE, PARTS = 4, 0.2, 2


class RandomFeatures(nn.Module):
    """Creates a random net.

    Arguments:
        channels: Of the images, from 1 to 4.
        seed: Draws the weights.

    Raises:
        ArgumentError: There is another number of channels.
    """

    def __init__(self, channels: int, seed: int = 0) -> None:
        super().__init__()
        if channels not in range(1, MOST + 1):
            raise invalid("channels", channels, f"1 to {MOST}")
        stream = Stream(seed).child("random features")
        weights = [_weight(stream, *widths) for widths in pairwise((channels, *WIDTHS))]
        for number, weight in enumerate(weights):
            self.register_buffer(f"weight_{number}", weight)

    def forward(self, images: Tensor) -> Tensor:
        """Return the features of images in [0, 1], shape (images, 128)."""
        x = 2 * images - 1
        for weight in self.buffers():
            x = leaky_relu(conv2d(x, weight, stride=2, padding=1), SLOPE)
        return adaptive_avg_pool2d(x, PARTS).flatten(1)

    def features(self, images: Images) -> Tensor:
        """Return the features of images, shape (images, 128).

        Raises:
            DataError: A side is shorter than 8 pixels.
        """
        if min(images.shape[1:]) < LEAST:
            raise DataError(f"images: got shape {images.shape}, expected sides of at least {LEAST} pixels")
        return images.map(self)


def _weight(stream: Stream, inputs: int, outputs: int) -> Tensor:
    size = inputs * KERNEL**2
    deviation = sqrt(2 / (1 + SLOPE**2) / size)
    return (deviation * stream.normal(outputs, size)).view(outputs, inputs, KERNEL, KERNEL)
