"""Networks of strided convolutions: each layer halves, or doubles, the side of the image.

The generator's activations are normalised over the batch; the discriminator's weights by their spectral norm,
or its activations over the batch, which were the choice of 2015 and leave no room for gradient penalties.

References:
    | Unsupervised representation learning with deep convolutional generative adversarial networks
    | (Radford, Metz & Chintala, 2015)
"""

from __future__ import annotations

__all__ = ["DCGAN"]

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import nn

from ._family import Discriminator, Family, Generator, Rows
from ._parts import Unflatten, conv, deconv, draw_weights, halvings, linear, normalise

_SLOPE = 0.2
_SCALE = 0.02
_MOST = 8
_SMALL = 2
"""How often small images can be halved."""


class DCGAN(Family):
    """Creates a family of strided convolutions.

    Arguments:
        latent: How many latent numbers the generator takes.
        width: Channels next to the image; twice as many at each half of its side, up to eight times.
        normalisation: Of the discriminator: ``spectral``, ``batch`` or ``none``.

    Raises:
        ArgumentError: A setting is out of range.
    """

    name: ClassVar[str] = "dcgan"
    width: Annotated[int, Field(ge=1, description="channels next to the image, doubled at each halving")] = 32
    normalisation: Annotated[
        Literal["spectral", "batch", "none"], Field(description="of the discriminator's layers")
    ] = "spectral"

    def generator(self, rows: Rows, seed: int = 0) -> Generator:
        widths = self._widths(rows)
        top = widths[-1]
        _, (height, width) = halvings(self.name, rows.shape)
        inputs = self.inputs(rows)
        parts: list[nn.Module] = [linear(inputs, top * height * width, bias=False)]
        parts += [Unflatten(top, (height, width)), nn.BatchNorm2d(top), nn.ReLU()]
        for above, below in pairwise(widths[::-1]):
            parts += [deconv(above, below, bias=False), nn.BatchNorm2d(below), nn.ReLU()]
        parts += [deconv(widths[0], rows.shape[0]), *([nn.Tanh()] if rows.bounded else [])]
        network = Generator(self, rows, nn.Sequential(*parts))
        draw_weights(network, "generator", seed, lambda layer: _SCALE)
        return network

    def discriminator(self, rows: Rows, seed: int = 0) -> Discriminator:
        _, (height, width) = halvings(self.name, rows.shape)
        widths = [rows.shape[0], *self._widths(rows)]
        parts: list[nn.Module] = []
        for number, (below, above) in enumerate(pairwise(widths)):
            batch = self.normalisation == "batch" and number > 0
            parts.append(conv(below, above, 4, stride=2, bias=not batch))
            parts += [*([nn.BatchNorm2d(above)] if batch else []), nn.LeakyReLU(_SLOPE)]
        network = Discriminator(self, rows, nn.Sequential(*parts), widths[-1] * height * width)
        draw_weights(network, "discriminator", seed, lambda layer: _SCALE)
        if self.normalisation == "spectral":
            normalise(network)
        return network

    def rate(self, rows: Rows) -> float:
        """Return the learning rate; deep discriminators die of the one that is best for small images."""
        small = halvings(self.name, rows.shape)[0] <= _SMALL and self.normalisation == "spectral"
        return 2e-3 if small else super().rate(rows)

    def _widths(self, rows: Rows) -> list[int]:
        """Return the channels at each half of the side, next to the image first."""
        times, _ = halvings(self.name, rows.shape)
        return [self.width * min(2**number, _MOST) for number in range(times)]
