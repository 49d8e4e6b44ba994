"""What every family of networks answers, and the two networks that it makes."""

from __future__ import annotations

__all__ = ["RATE", "Discriminator", "Family", "Generator", "Network", "Rows"]

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ...settings import Settings
from ._parts import full, linear

RATE = 5e-4
"""The learning rate of networks of which nothing is known."""


class Rows(NamedTuple):
    """What the networks of both players see of the data."""

    shape: tuple[int, ...]
    """The shape of a row: (columns), or (channels, height, width)."""
    classes: int | None = None
    """How many classes rows come in, if the networks are told of them."""
    bounded: bool = True
    """Whether values lie between -1 and 1."""


class Family(Settings, ABC):
    """Abstract family of networks: one for either player, for rows of a shape."""

    name: ClassVar[str]
    law: ClassVar[str] = "normal"
    """The law of the latent numbers, by its name in ``LAWS``."""
    latent: Annotated[int, Field(ge=1, description="how many latent numbers the generator takes")] = 64

    @abstractmethod
    def generator(self, rows: Rows, seed: int = 0) -> Generator:
        """Make the generator of rows.

        Raises:
            ArgumentError: The family has no network for rows of this shape.
        """

    @abstractmethod
    def discriminator(self, rows: Rows, seed: int = 0) -> Discriminator:
        """Make the discriminator of rows.

        Raises:
            ArgumentError: The family has no network for rows of this shape.
        """

    def rate(self, rows: Rows) -> float:
        """Return the learning rate that suits both networks, where a fit is given none."""
        return RATE

    def inputs(self, rows: Rows) -> int:
        """Return how many numbers the generator takes, the code of a class included."""
        return self.latent + (rows.classes or 0)


class Network(nn.Module):
    """Creates the network of one player.

    Arguments:
        family: The family that it is of.
        rows: What rows it is for.
        body: The layers.
    """

    def __init__(self, family: Family, rows: Rows, body: nn.Module) -> None:
        super().__init__()
        self.family, self.rows, self.body = family, rows, body

    def config(self) -> dict[str, Any]:
        """Return what makes a network like this one, as JSON values."""
        return {"network": self.family.name, "settings": self.family.model_dump(), **self.rows._asdict()}


class Generator(Network):
    """Creates a generator: latent numbers in, rows out; the class is told by its one-hot code."""

    def forward(self, z: Tensor, codes: Tensor | None = None) -> Tensor:
        """Return rows of shape (rows, *shape).

        Arguments:
            z: Latent numbers, shape (rows, latent).
            codes: The codes of the classes, shape (rows), where there are some.
        """
        if self.rows.classes is not None:
            assert codes is not None
            z = torch.cat((z, one_hot(codes, self.rows.classes).to(z)), 1)
        out: Tensor = self.body(z)
        return out.reshape(len(z), *self.rows.shape)


class Discriminator(Network):
    r"""Creates a discriminator, whose score is linear in the features :math:`\phi` that its body finds.

    .. math:: d(x, y) = b + w^\top \phi(x) + u_y^\top \phi(x)

    where the second product, the projection on the class, is there only if there are classes.

    Arguments:
        family: The family that it is of.
        rows: What rows it is for.
        body: The layers below the features.
        features: How many there are.

    References:
        | cGANs with projection discriminator (Miyato & Koyama, 2018)
    """

    def __init__(self, family: Family, rows: Rows, body: nn.Module, features: int) -> None:
        super().__init__(family, rows, body)
        self.score = linear(features, 1)
        self.projection = None if rows.classes is None else linear(features, rows.classes, bias=False)

    def forward(self, x: Tensor, codes: Tensor | None = None) -> Tensor:
        """Return the scores of rows, shape (rows): the higher, the more like data.

        Arguments:
            x: Rows of shape (rows, *shape).
            codes: The codes of the classes, shape (rows), where there are some.
        """
        features = self.body(x)
        out = full(self.score, features)[:, 0]
        if self.projection is not None:
            assert codes is not None
            out = out + full(self.projection, features).gather(1, codes[:, None])[:, 0]
        return out
