r"""Chains over what rows lack, where the model's real units are a linear map of the rows' numbers.

Numbers z of a row become real units by :math:`y = L (z - \mu)`, such as whitened ones. Given the hidden
units, z is then normal with a precision that couples numbers to each other,

.. math:: z \mid h \sim N\!\left(\mu + L^{-1} \tfrac{b + W h}{\beta},\ A^{-1}\right), \qquad
    A = L^\top \mathrm{diag}(\beta)\, L,

so that those that are missing follow given those that are known, all at once; and a machine over y is one
over z that has couplings between its numbers besides. Each step draws the hidden units, then all that is
missing.

Random bits are addressed by numbers of rows that the caller gives: where these follow from what a row holds,
so does what is drawn for it, whatever rows are beside it.
"""

from __future__ import annotations

__all__ = ["GapChains", "LinearMap"]

from typing import NamedTuple

import torch
from torch import Tensor

from ..models import RBM
from ..random import Stream
from ..units import Categorical, Gaussian, Mixed, Unit


class LinearMap(NamedTuple):
    """The map from the numbers of rows to real units."""

    mean: Tensor
    """Shape (numbers)."""
    matrix: Tensor
    """L, shape (numbers, numbers)."""
    inverse: Tensor
    """Likewise."""

    def forward(self, z: Tensor) -> Tensor:
        """Return the real units of numbers, shape (..., numbers)."""
        return (z - self.mean) @ self.matrix.T


class GapChains:
    """Creates chains over what rows lack, a number of them for each row.

    Arguments:
        model: An RBM whose visible layer has its real units last, if any.
        rows: Rows of shape (rows, columns), NaN where a value is missing; numbers as they are before the map.
        linear: The map of the numbers.
        stream: Where random bits come from.
        chains: For each row.
        address: The numbers by which rows draw, shape (rows); by default their places.
    """

    def __init__(
        self,
        model: RBM,
        rows: Tensor,
        linear: LinearMap | None,
        stream: Stream,
        *,
        chains: int = 1,
        address: Tensor | None = None,
    ) -> None:
        self.model, self.stream, self.linear = model, stream, linear
        self.coupled = linear is not None and bool((linear.matrix - linear.matrix.diagonal().diag()).any())
        self.address = (torch.arange(len(rows)) if address is None else address).to(rows.device)
        unit = model.visible
        self.parts = list(unit.parts) if isinstance(unit, Mixed) else [unit]
        numbers = linear.mean.numel() if linear is not None else 0
        self.width = unit.width - numbers
        plain = torch.cat((rows[:, : rows.shape[1] - numbers], rows.new_zeros(len(rows), numbers)), 1)
        known = unit.expand(~plain.isnan())
        self.known = known[:, : self.width]
        values = unit.statistics(plain.nan_to_num())[:, : self.width].to(rows)
        self.states = torch.where(self.known, values, 0).expand(chains, -1, -1)
        """Statistics of bits and codes, shape (chains, rows, width)."""
        z = rows[:, rows.shape[1] - numbers :]
        self.there = ~z.isnan()
        centre = rows.new_zeros(0) if linear is None else linear.mean
        self.numbers = torch.where(self.there, z, centre).expand(chains, -1, -1)
        """Numbers as they are before the map, shape (chains, rows, numbers)."""
        self.probabilities = self.states
        """Expected states given the hidden units of the last step."""
        self.means = self.numbers
        """Expected numbers given the hidden units of the last step, and those that are known."""
        self.refresh()
        self._begin()

    @property
    def deviations(self) -> Tensor:
        """The standard deviations about ``means``, shape (rows, numbers); zero of what is known."""
        if self.linear is not None and not self.coupled:
            return ~self.there * self._scale()
        return self._root.square().sum(1).sqrt()

    @torch.no_grad()
    def step(self) -> None:
        """Draw the hidden units, then all that is missing."""
        visible, hidden = self.model.visible, self.model.hidden
        weight = self.model.weight
        fields = hidden.bias + self._statistics() @ weight
        h = (self._uniform(hidden.width) < torch.sigmoid(fields)).to(fields)
        self._draw(visible.bias + h @ weight.T)

    def values(self) -> Tensor:
        """Return the first chain as rows for the model, shape (rows, columns)."""
        return self.model.visible.values(self._statistics()[0])

    def rows(self) -> Tensor:
        """Return the chains as rows like those that were given, shape (chains, rows, columns)."""
        codes = torch.cat((self.states, torch.zeros_like(self.numbers)), -1)
        values = self.model.visible.values(codes.flatten(0, 1)).to(self.numbers)
        values = values.unflatten(0, self.states.shape[:2])[..., : values.shape[-1] - self.numbers.shape[-1]]
        return torch.cat((values, self.numbers), -1)

    @torch.no_grad()
    def _begin(self) -> None:
        """Draw what is missing as if there were no hidden units but their means."""
        hidden = self.model.hidden
        mean = torch.sigmoid(hidden.bias)
        field = self.model.visible.bias + mean @ self.model.weight.T
        self._draw(field.expand(*self.states.shape[:2], -1))

    def _statistics(self) -> Tensor:
        if self.linear is None:
            return self.states
        return torch.cat((self.states, self.linear.forward(self.numbers)), -1)

    def _draw(self, field: Tensor) -> None:
        if self.width:
            own = field[..., : self.width]
            uniform = self._uniform(self.width)
            drawn, means = [], []
            for part, columns in self._discrete():
                drawn.append(_sample(part, own[..., columns], uniform[..., columns]))
                means.append(part.expected_statistics(own[..., columns]))
            self.states = torch.where(self.known, self.states, torch.cat(drawn, -1))
            self.probabilities = torch.where(self.known, self.states, torch.cat(means, -1))
        if self.linear is not None:
            self._draw_numbers(field[..., self.width :])

    def _draw_numbers(self, field: Tensor) -> None:
        assert self.linear is not None
        mean = self.linear.mean + (field / self._precision()) @ self.linear.inverse.T
        normal = torch.special.ndtri(self._uniform(len(self.linear.mean)).double()).to(mean)
        if not self.coupled:
            self.means = torch.where(self.there, self.numbers, mean)
            self.numbers = torch.where(self.there, self.numbers, mean + normal * self._scale())
            return
        off = torch.where(self.there, self.numbers - mean, 0)
        shift = torch.matmul(self._gain, off.permute(1, 2, 0)).permute(2, 0, 1)
        self.means = torch.where(self.there, self.numbers, mean - shift)
        noise = torch.matmul(self._root.transpose(1, 2), normal.permute(1, 2, 0)).permute(2, 0, 1)
        self.numbers = torch.where(self.there, self.numbers, self.means + noise)

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring up to date, after the model has changed, how missing numbers follow from known ones.

        With A of the missing ones as C C', the gain is its inverse times A, and the root the inverse of C.
        """
        self._root = self.numbers.new_zeros(self.numbers.shape[1], 0, 0)
        if self.linear is None or not self.coupled:
            return
        matrix = self.linear.matrix
        coupling = matrix.T @ (self._precision()[:, None] * matrix)
        gone = (~self.there).to(coupling)
        both = gone[:, :, None] * gone[:, None, :]
        own = coupling * both + torch.diag_embed(1 - gone)
        lower = torch.linalg.cholesky(own)
        unit = torch.eye(len(matrix), dtype=own.dtype, device=own.device)
        root = torch.linalg.solve_triangular(lower, unit, upper=False)
        self._root = root * both
        across = coupling * gone[:, :, None] * (1 - gone)[:, None, :]
        self._gain = self._root.transpose(1, 2) @ (self._root @ across)

    def _scale(self) -> Tensor:
        """Return the standard deviations of numbers that are not coupled, shape (numbers)."""
        assert self.linear is not None
        return self.linear.inverse.diagonal() / self._precision().sqrt()

    def _precision(self) -> Tensor:
        part = self.parts[-1]
        assert isinstance(part, Gaussian)
        return part.precision.detach()

    def _discrete(self) -> list[tuple[Unit, slice]]:
        found, first = [], 0
        for part in self.parts:
            if part.discrete:
                found.append((part, slice(first, first + part.width)))
                first += part.width
        return found

    def _uniform(self, columns: int) -> Tensor:
        n, step = len(self.states), self.stream.draw().step
        drawn = self.stream.uniform_at(step, self.address, n * columns)
        return drawn.unflatten(1, (n, columns)).transpose(0, 1).to(self.numbers)


def _sample(part: Unit, field: Tensor, uniform: Tensor) -> Tensor:
    """Return states in a field by given uniform numbers, one for each statistic."""
    if not isinstance(part, Categorical):
        return (uniform < part.expected_statistics(field)).to(field)
    scores = (field - (-uniform.log()).log()).unflatten(-1, (part.size, -1))
    return torch.nn.functional.one_hot(scores.argmax(-1), scores.shape[-1]).to(field).flatten(-2)
