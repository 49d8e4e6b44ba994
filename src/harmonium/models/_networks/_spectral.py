r"""Spectral normalisation: a layer whose weights W have a largest singular value of 1.

.. math:: W / \sigma(W), \qquad \sigma(W) = \max_{\|v\| = 1} \|W v\| \approx u^\top W v

with the singular vectors u and v by power iteration: one step each time that the layer is used in training,
from where the last one ended, as weights change little in between. A linear layer then changes its output by
no more than its input changes, a convolution by no more than the root of its kernel's area times as much.

References:
    | Spectral normalization for generative adversarial networks (Miyato, Kataoka, Koyama & Yoshida, 2018)
"""

from __future__ import annotations

__all__ = ["Spectral"]

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

_FIRST = 30


class Spectral(nn.Module):
    """Creates the parametrisation of a weight, whose rows are those of a matrix.

    Arguments:
        weight: The weight to begin with, shape (rows, ...).
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        matrix = weight.flatten(1)
        columns = torch.arange(1, matrix.shape[1] + 1, dtype=matrix.dtype)
        self.register_buffer("v", normalize(columns.cos(), dim=0))
        self.register_buffer("u", normalize(matrix @ self.v, dim=0))
        for _ in range(_FIRST):
            self._iterate(matrix)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight divided by its spectral norm."""
        matrix = weight.flatten(1)
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                self._iterate(matrix)
            return weight / torch.vdot(self.u.clone(), torch.mv(matrix, self.v.clone()))

    @torch.no_grad()
    def _iterate(self, matrix: Tensor) -> None:
        self.v.copy_(normalize(torch.mv(matrix.T, self.u), dim=0))
        self.u.copy_(normalize(torch.mv(matrix, self.v), dim=0))
