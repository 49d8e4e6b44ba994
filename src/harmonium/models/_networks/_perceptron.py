"""Perceptrons, as in 2014: a generator of ReLU units against a discriminator of maxout units.

A maxout unit is the largest of several linear functions of its inputs. Both networks take rows of any shape.

References:
    | Generative adversarial nets (Goodfellow et al., 2014)
    | Maxout networks (Goodfellow, Warde-Farley, Mirza, Courville & Bengio, 2013)
"""

from __future__ import annotations

__all__ = ["Perceptrons"]

import math
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from ._family import Discriminator, Family, Generator, Rows
from ._parts import draw_weights, fan_in, linear

_SLOPE = 0.2


class Perceptrons(Family):
    """Creates a family of perceptrons.

    Arguments:
        latent: How many latent numbers the generator takes.
        hidden: Units in each of the generator's hidden layers.
        judges: Units in each of the discriminator's hidden layers.
        pieces: Linear functions of each of these units; with 1 they are leaky ReLU units.
        depth: The number of hidden layers of either network.
        dropout: The probability that a hidden unit of the discriminator is left out of an update.
        input_dropout: The probability that one of its inputs is.

    Raises:
        ArgumentError: A setting is out of range.
    """

    name: ClassVar[str] = "mlp"
    law: ClassVar[str] = "uniform"
    latent: Annotated[int, Field(ge=1, description="how many latent numbers the generator takes")] = 100
    hidden: Annotated[int, Field(ge=1, description="units in each hidden layer of the generator")] = 1200
    judges: Annotated[int, Field(ge=1, description="units in each hidden layer of the discriminator")] = 240
    pieces: Annotated[int, Field(ge=1, description="of each maxout unit; 1: leaky ReLU units")] = 5
    depth: Annotated[int, Field(ge=1, description="hidden layers of either network")] = 2
    dropout: Annotated[float, Field(ge=0, lt=1, description="of the discriminator's hidden units")] = 0.5
    input_dropout: Annotated[float, Field(ge=0, lt=1, description="of the discriminator's inputs")] = 0.2

    def generator(self, rows: Rows, seed: int = 0) -> Generator:
        parts: list[nn.Module] = []
        below = self.inputs(rows)
        for _ in range(self.depth):
            parts += [linear(below, self.hidden), nn.ReLU()]
            below = self.hidden
        parts += [linear(below, math.prod(rows.shape)), *([nn.Tanh()] if rows.bounded else [])]
        network = Generator(self, rows, nn.Sequential(*parts))
        draw_weights(network, "generator", seed, _he)
        return network

    def discriminator(self, rows: Rows, seed: int = 0) -> Discriminator:
        parts: list[nn.Module] = [nn.Flatten(), *_dropout(self.input_dropout)]
        below = math.prod(rows.shape)
        for _ in range(self.depth):
            unit = nn.LeakyReLU(_SLOPE) if self.pieces == 1 else Maxout(self.pieces)
            parts += [linear(below, self.judges * self.pieces), unit, *_dropout(self.dropout)]
            below = self.judges
        network = Discriminator(self, rows, nn.Sequential(*parts), below)
        draw_weights(network, "discriminator", seed, _he if self.pieces == 1 else _small)
        return network


class Maxout(nn.Module):
    """Creates units that are the largest of so many neighbouring inputs each."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: Tensor) -> Tensor:
        """Return the units, shape (rows, inputs / pieces)."""
        return x.unflatten(1, (-1, self.pieces)).amax(2)


def _he(layer: nn.Module) -> float:
    return math.sqrt(2 / fan_in(layer))


def _small(layer: nn.Module) -> float:
    """Return the scale for maxout units, the largest of whose functions is larger than each."""
    return math.sqrt(1 / (2 * fan_in(layer)))


def _dropout(probability: float) -> list[nn.Module]:
    return [nn.Dropout(probability)] if probability else []
