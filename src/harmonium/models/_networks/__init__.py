"""The networks of the two players of an adversarial game, in families by name in ``NETWORKS``."""

from ._dcgan import DCGAN
from ._family import RATE, Discriminator, Family, Generator, Network, Rows
from ._modern import Modern
from ._parts import Unflatten
from ._perceptron import Perceptrons
from ._resnet import ResNet

NETWORKS: dict[str, type[Family]] = {family.name: family for family in (Perceptrons, DCGAN, ResNet, Modern)}
"""The families by name."""

__all__ = [
    "DCGAN",
    "NETWORKS",
    "RATE",
    "Discriminator",
    "Family",
    "Generator",
    "Modern",
    "Network",
    "Perceptrons",
    "ResNet",
    "Rows",
    "Unflatten",
]
