r"""Losses of single visible units: how much more probable a row would be with another value of one unit.

In ratios of probabilities Z cancels, so that these rules need no states of the model. With
:math:`d_{ik}` for the change of unit i's statistic when the unit takes its k-th other value,

.. math:: \Delta_{ik} = \log \frac{p(x\ \text{with unit}\ i\ \text{in its}\ k\text{-th other value})}{p(x)}
    = d_{ik}^\top f_i + \sum_j \left[A_j(a_j + d_{ik}^\top W_{ij}) - A_j(a_j)\right],

where :math:`f_i` is the unit's bias plus what the other visible units send it, :math:`a_j` the field of
hidden unit j at x, and :math:`A_j` its log-partition function. A loss of this kind sums a function of each
unit's :math:`\Delta_i`; on rows of the model's own distribution its gradient vanishes.

The table of all rows, units and values follows from the fields at x, all sites at once. Binary units under
binary ones take a compiled loop, and Gaussian hidden units, whose A is quadratic, two matrix products.
Others are computed tile by tile, and again for the gradient, so that only one tile is in memory at a time.
"""

from __future__ import annotations

__all__ = ["SingleSiteRule", "log_odds"]

from abc import abstractmethod
from collections.abc import Callable, Iterator
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .. import kernels
from ..errors import DataError, invalid
from ..models import Model, PairwiseModel, State
from ..random import Stream
from ..units import Bernoulli, Categorical, Gaussian, Mixed, Spin, Unit
from ._loss_rule import LossRule
from ._rule import Batch, check_sums_out


class SingleSiteRule(LossRule):
    """Abstract rule with a loss for each visible unit, a function of the log-odds of its other values."""

    @abstractmethod
    def cost(self, odds: Tensor) -> Tensor:
        r"""Return each unit's loss, shape (rows, units).

        Arguments:
            odds: The table :math:`\Delta`, shape (rows, units, other values).
        """

    def check(self, model: Model) -> None:
        if not isinstance(model, PairwiseModel):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        real = [part.kind for part, _ in _parts(model.visible) if part.support() is None]
        if real:
            reason = "their values cannot be listed"
            expected = f"a rule that fits {real[0]} visible units, such as 'pcd': {reason}"
            raise invalid("rule", self.name, expected)
        check_sums_out(self.name, model)

    def loss(self, model: Model, batch: Batch, state: State, stream: Stream) -> Tensor:
        assert isinstance(model, PairwiseModel)
        _require_states(self.name, model.visible, batch)
        parts = [self._part(fields, batch.weights) for fields in _fields(model, batch.values)]
        return torch.stack(parts).sum()

    def _part(self, fields: _Fields, weights: Tensor) -> Tensor:
        if fields.binary:
            return self._total(_flip_odds(fields), weights)
        return torch.stack([self._tile(fields.tile(*at), weights[at[0]]) for at in _tiles(fields)]).sum()

    def _tile(self, fields: _Fields, weights: Tensor) -> Tensor:
        layers = [layer for layer, _, _ in fields.hidden]

        def total(field: Tensor, *above: Tensor) -> Tensor:
            hidden = list(zip(layers, above[::2], above[1::2], strict=True))
            return self._total(_odds(fields._replace(field=field, hidden=hidden)), weights)

        return _Again.apply(total, fields.field, *(t for _, *pair in fields.hidden for t in pair))

    def _total(self, odds: Tensor, weights: Tensor) -> Tensor:
        return (weights[:, None] * self.cost(odds)).sum(dtype=torch.float64)


def log_odds(model: PairwiseModel, x: Tensor) -> list[Tensor]:
    r"""Return the table :math:`\Delta`, shape (rows, units, other values), of each part of the visible layer.

    The other values of a unit follow its own one in the order of the support, which is cyclic.

    Arguments:
        model: A model that :meth:`SingleSiteRule.check` accepts.
        x: Visible statistics, shape (rows, width).
    """
    return [_flip_odds(fields) if fields.binary else _odds(fields) for fields in _fields(model, x)]


class _Fields(NamedTuple):
    """What a part's table follows from; visible shapes are (rows, units, columns)."""

    unit: Unit
    support: Tensor
    x: Tensor
    field: Tensor
    hidden: list[tuple[Unit, Tensor, Tensor]]
    """Layers with their fields and their couplings, of shape (visible units, columns, width)."""

    @property
    def binary(self) -> bool:
        """Whether the table is that of flips."""
        layers = [self.unit, *(layer for layer, _, _ in self.hidden)]
        return all(isinstance(layer, Bernoulli | Spin) for layer in layers)

    def tile(self, rows: slice, sites: slice) -> _Fields:
        """Return what a tile of the table follows from."""
        hidden = [(layer, field[rows], weight[sites]) for layer, field, weight in self.hidden]
        return self._replace(x=self.x[rows, sites], field=self.field[rows, sites], hidden=hidden)


def _parts(unit: Unit) -> Iterator[tuple[Unit, slice]]:
    """Yield the parts of a layer, of one type of units each, with their columns."""
    parts = list(unit.parts) if isinstance(unit, Mixed) else [unit]
    ends = accumulate((part.width for part in parts), initial=0)
    return zip(parts, map(slice, *zip(*pairwise(ends), strict=True)), strict=True)


def _fields(model: PairwiseModel, x: Tensor) -> Iterator[_Fields]:
    state = {"visible": x}
    field, hidden = model.field("visible", state), []
    for block in model.blocks()[1:]:
        for coupling in model.couplings():
            if {coupling.lower, coupling.upper} == {"visible", block}:
                matrix = model.matrix(coupling)
                weight = matrix if coupling.lower == "visible" else matrix.T
                hidden.append((model.layer(block), model.field(block, state), weight))
    for unit, own in _parts(model.visible):
        support, shape = unit.support(), (unit.size, -1)
        assert support is not None
        above = [(layer, inputs, weight[own].unflatten(0, shape)) for layer, inputs, weight in hidden]
        values, fields = (t[:, own].unflatten(1, shape) for t in (x, field))
        yield _Fields(unit, support.to(x), values, fields, above)


def _require_states(name: str, unit: Unit, batch: Batch) -> None:
    """Check that every value is a unit's state.

    Raises:
        DataError: With the row, the unit and the value of the first that is not.
    """
    right = unit.accepts(batch.values, False)
    if not bool(right.all()):
        row, site = (~right).nonzero()[0].tolist()
        place, number, got, _ = unit.fault(batch.values[row], site, False)
        got = f"{got} at row {int(batch.rows[row])}, {place} {number}"
        raise DataError(f"data: got {got}, expected states, which {name!r} changes one by one")


# --- binary units -------------------------------------------------------------------------------


class _Flips(torch.autograd.Function):
    """:func:`harmonium.kernels.flips`, differentiable by fields and couplings."""

    @staticmethod
    def forward(ctx: Any, field: Tensor, weight: Tensor, up: Tensor, step: float, spin: bool) -> Tensor:
        sums, ctx.gradient = kernels.flips(field, weight, up, step, spin)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        return *ctx.gradient(slopes), None, None, None


def _flip_odds(fields: _Fields) -> Tensor:
    low, high = fields.support.flatten().tolist()
    x = fields.x[..., 0]
    odds = (low + high - 2 * x) * fields.field[..., 0]
    for layer, field, weight in fields.hidden:
        odds = odds + _Flips.apply(field, weight[:, 0], x == low, high - low, isinstance(layer, Spin))
    return odds[..., None]


# --- units of any kind --------------------------------------------------------------------------


class _Again(torch.autograd.Function):
    """A function of tensors that is computed again for its gradient, so that nothing on the way is kept."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*tensors)
        return function(*tensors)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        tensors = [t.detach().requires_grad_() for t in ctx.saved_tensors]
        with torch.enable_grad():
            value = slope * ctx.function(*tensors)
        return None, *torch.autograd.grad(value, tensors, allow_unused=True)


def _tiles(fields: _Fields) -> Iterator[tuple[slice, slice]]:
    rows, units, columns = fields.x.shape
    widths = [field.shape[1] for layer, field, _ in fields.hidden if not isinstance(layer, Gaussian)]
    return kernels.tiles(rows, units, depth=(len(fields.support) - 1) * max(columns, *widths, 1))


def _odds(fields: _Fields) -> Tensor:
    """Return a part's table, or a tile of it, float64."""
    if isinstance(fields.unit, Categorical) and not fields.hidden:
        return _swap_odds(fields)
    change = _changes(fields.support, fields.x)
    odds = (change * fields.field[:, :, None]).sum(-1, dtype=torch.float64)
    for layer, field, weight in fields.hidden:
        odds = odds + _rise(layer, field, change, weight)
    return odds


def _swap_odds(fields: _Fields) -> Tensor:
    """Return the same of one-hot units under nothing, without a table of what the other values differ by."""
    states = len(fields.support)
    own = fields.x.argmax(-1, keepdim=True)
    others = (torch.arange(1, states, device=own.device) + own) % states
    field = fields.field.double()
    return field.gather(-1, others) - field.gather(-1, own)


def _changes(support: Tensor, x: Tensor) -> Tensor:
    """Return what the other values of units differ by, shape (rows, units, other values, columns)."""
    own = (x[:, :, None] == support).all(-1).int().argmax(-1)
    others = torch.arange(1, len(support), device=x.device) + own[..., None]
    return support[others % len(support)] - x[:, :, None]


def _rise(layer: Unit, field: Tensor, change: Tensor, weight: Tensor) -> Tensor:
    """Return how the log-partition function changes with visible units, shape (rows, units, other values)."""
    if isinstance(layer, Gaussian):
        return _quadratic(layer, field, change, weight)
    after = field[:, None, None] + torch.einsum("rukc,uch->rukh", change, weight)
    return layer.log_partition(after) - layer.log_partition(field)[:, None, None]


def _quadratic(layer: Gaussian, field: Tensor, change: Tensor, weight: Tensor) -> Tensor:
    """Return the same of Gaussian units: a change d of the field adds (field + d / 2) d / precision."""
    scaled = weight / layer.precision
    slope = torch.einsum("rh,uch->ruc", field, scaled)
    bend = torch.einsum("uch,ueh->uce", scaled, weight)
    mean = slope[:, :, None] + 0.5 * torch.einsum("rukc,uce->ruke", change, bend)
    return (change * mean).sum(-1, dtype=torch.float64)
