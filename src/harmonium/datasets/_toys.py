r"""Toy densities in the plane, of which everything is known.

A mixture of K equal Gaussians, :math:`p(x) = \frac1K \sum_k N(x;\ m_k,\ \sigma^2 I)`, whose centres lie on
a ring or on a grid, far apart. A model that loses some of them has lost modes, which can be counted; its
samples can be scored, and the best discriminator, :math:`p / (p + q)`, is known wherever q is.

References:
    | Unrolled generative adversarial networks (Metz, Poole, Pfau & Sohl-Dickstein, 2017)
    | VEEGAN: reducing mode collapse in GANs using implicit variational learning (Srivastava et al., 2017)
"""

from __future__ import annotations

__all__ = ["TOYS", "Mixture"]

from dataclasses import dataclass
from math import log, pi

import torch
from torch import Tensor

from ..errors import invalid
from ..random import Stream


@dataclass(frozen=True, eq=False)
class Mixture:
    """An equal mixture of round Gaussians.

    Arguments:
        centres: Their means, shape (modes, columns), float64.
        deviation: The standard deviation of each, in each direction.
    """

    centres: Tensor
    deviation: float

    def log_density(self, x: Tensor) -> Tensor:
        """Return log p of rows in nats, shape (rows), float64.

        Arguments:
            x: Shape (rows, columns).
        """
        modes, columns = self.centres.shape
        squares = self._distances(x).square() / (-2 * self.deviation**2)
        scale = log(modes) + columns / 2 * log(2 * pi * self.deviation**2)
        return torch.logsumexp(squares, 1) - scale

    def sample(self, n: int, stream: Stream) -> tuple[Tensor, Tensor]:
        """Draw rows.

        Arguments:
            n: How many.
            stream: Where from; it takes two steps.

        Returns:
            Rows of shape (n, columns), float64, and the mode of each, shape (n).
        """
        modes, columns = self.centres.shape
        mode = (stream.uniform(n, 1, torch.float64)[:, 0] * modes).long()
        noise = stream.normal(n, columns, torch.float64)
        return self.centres[mode] + self.deviation * noise, mode

    def modes(self, x: Tensor, within: float = 3.0) -> Tensor:
        """Return the nearest mode of each row, or -1 where it is too far away, shape (rows).

        Arguments:
            x: Shape (rows, columns).
            within: How far a row of a mode may be, in standard deviations.
        """
        distance, mode = self._distances(x).min(1)
        return torch.where(distance <= within * self.deviation, mode, -1)

    def _distances(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.centres.shape[1]:
            raise invalid("x", tuple(x.shape), f"shape (rows, {self.centres.shape[1]})")
        return (x.detach().cpu().double()[:, None] - self.centres).norm(dim=2)


def _ring(modes: int, radius: float) -> Tensor:
    angles = torch.arange(modes, dtype=torch.float64) * (2 * pi / modes)
    return radius * torch.stack((angles.cos(), angles.sin()), 1)


def _grid(side: int, spacing: float) -> Tensor:
    places = spacing * (torch.arange(side, dtype=torch.float64) - (side - 1) / 2)
    return torch.cartesian_prod(places, places)


TOYS = {"ring": Mixture(_ring(8, 2.0), 0.02), "grid": Mixture(_grid(5, 2.0), 0.05)}
"""Eight Gaussians on a circle of radius 2, and 25 on a square grid from -4 to 4."""
