r"""General Boltzmann machines: units coupled within the layers as well as between them.

.. math:: E(v, h) = E_v(v) + E_h(h) - s(v)^\top W s(h) - \sum_{i<j} s(v_i)^\top J_{ij} s(v_j)
    - \sum_{k<l} s(h_k)^\top K_{kl} s(h_l)

Each pair counts once; the textbook's :math:`v^\top R v` with a symmetric R is :math:`J = 2R`. Without
hidden units this is the Ising model, or with categorical units the Potts model, whose couplings are what
one wants to know: contacts of a protein, links between neurons.

Couplings of categorical units say the same in many ways, since what a row of a block adds to all states of
a unit can as well stand in the bias. Those within a layer are kept in the zero-sum gauge, in which the rows
and columns of each block sum to zero and the sum of squares is least, so that weight decay means the same
for all.

References:
    | A learning algorithm for Boltzmann machines (Ackley, Hinton & Sejnowski, 1985)
    | Inverse statistical problems: from the inverse Ising problem to data science
    | (Nguyen, Zecchina & Berg, 2017)
    | https://arxiv.org/abs/1702.01522
    | Improved contact prediction in proteins: using pseudolikelihoods to infer Potts models
    | (Ekeberg et al., 2013)
"""

from __future__ import annotations

__all__ = ["BoltzmannMachine", "Edges", "lattice"]

import math
from collections.abc import Sequence
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ArgumentError, check_memory, invalid
from ..units import Unit, as_rows, unit_from_config
from ._base import Coupling
from ._layers import as_layer, as_mask, check_lateral, check_pair, initial_weight, warn_of_idle
from ._pairwise import PairwiseModel

Edges: TypeAlias = Any
"""True for all pairs, False for none, a symmetric matrix of truth values, or pairs of shape (edges, 2)."""

_MOST_GROUPS = 8


class BoltzmannMachine(PairwiseModel):
    """Creates a general Boltzmann machine.

    Couplings start at zero within the layers, and at N(0, 0.01^2) between them.

    Arguments:
        visible: The visible layer; a number makes Bernoulli units.
        hidden: The hidden layer; none for a machine whose units are all visible.
        visible_edges: Which visible units are coupled: True (all), False (none), a symmetric matrix of
            truth values of shape (units, units), or an edge list of shape (edges, 2).
        hidden_edges: Which hidden units are coupled.
        weight_mask: Which visible unit may be coupled to which hidden one, truth values of shape
            (visible units, hidden units); all if not given.
        seed: Draws the initial weights.

    Raises:
        ArgumentError: Layers that cannot be coupled, edges that are not symmetric, a unit's edge to
            itself, a mask of another shape, or more couplings than memory holds.
        ArgumentTypeError: Edges or a mask that are none.
    """

    kind = "boltzmann"
    hidden: Unit | None

    def __init__(
        self,
        visible: int | Unit,
        hidden: int | Unit | None = None,
        *,
        visible_edges: Edges = True,
        hidden_edges: Edges = True,
        weight_mask: Any = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.visible = as_layer("visible", visible)
        self.hidden = None if hidden is None else as_layer("hidden", hidden)
        self.register_buffer("base_rates", torch.full((self.visible.width,), torch.nan))
        self._add_lateral("visible", visible_edges)
        if self.hidden is None:
            if weight_mask is not None:
                raise ArgumentError("weight_mask: got one, expected none where there are no hidden units")
            return
        check_pair(self.visible, self.hidden)
        self._add_lateral("hidden", hidden_edges)
        self.weight = initial_weight(self.visible, self.hidden, seed)
        self.weight_mask: Tensor | None
        self.register_buffer("weight_mask", None)
        if weight_mask is not None:
            self.weight_mask = as_mask(weight_mask, self.visible, self.hidden)
            self.weight.data *= self.weight_mask
            for block, other, axis in (("visible", "hidden", 1), ("hidden", "visible", 0)):
                coupled = self.weight_mask.bool().any(axis) | self._laterally_coupled(block)
                warn_of_idle("weight_mask", (block, other), self.layer(block), coupled)

    # --- configuration ----------------------------------------------------------------------------

    def config(self) -> dict[str, Any]:
        own: dict[str, Any] = {"visible": self.visible.config()}
        own["visible_edges"] = hasattr(self, "visible_coupling")
        if self.hidden is not None:
            own["hidden"] = self.hidden.config()
            own["hidden_edges"] = hasattr(self, "hidden_coupling")
            own["masked"] = self.weight_mask is not None
        return own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        values = dict(config)
        visible = unit_from_config(values.pop("visible"))
        hidden = unit_from_config(values.pop("hidden")) if "hidden" in values else None
        if values.pop("masked", False):
            assert hidden is not None
            values["weight_mask"] = torch.ones(visible.size, hidden.size, dtype=torch.bool)
        return cls(visible, hidden, **values)

    # --- structure ----------------------------------------------------------------------------------

    def blocks(self) -> tuple[str, ...]:
        return ("visible",) if self.hidden is None else ("visible", "hidden")

    def layer(self, block: str) -> Unit:
        unit = self.visible if block == "visible" else self.hidden
        assert unit is not None
        return unit

    def couplings(self) -> tuple[Coupling, ...]:
        found = []
        for block in self.blocks():
            if hasattr(self, f"{block}_coupling"):
                found.append(Coupling(block, block, f"{block}_coupling"))
        if self.hidden is not None:
            found.append(Coupling("visible", "hidden", "weight"))
        return tuple(found)

    def mask(self, coupling: Coupling) -> Tensor | None:
        if coupling.name == "weight":
            return self.weight_mask
        return self.get_buffer(f"{coupling.lower}_mask")

    def groups(self, block: str) -> tuple[Tensor, ...] | None:
        mask = self.get_buffer(f"{block}_mask")
        stamp = (mask.data_ptr(), mask._version)
        if self._groups.get(block, (None,))[0] != stamp:
            self._groups[block] = (stamp, _colour(mask, self.layer(block).size))
        found: tuple[Tensor, ...] | None = self._groups[block][1]
        return found

    @torch.no_grad()
    def set_lateral(self, block: str, matrix: Any) -> None:
        """Set the couplings within a block.

        Arguments:
            block: ``visible`` or ``hidden``.
            matrix: Symmetric, shape (width, width), zero on the diagonal (of categorical units: in the
                diagonal blocks) and where there is no edge.

        Raises:
            ArgumentError: The block has no couplings, or the matrix is none of that kind.
            ArgumentTypeError: The matrix holds no numbers.
        """
        name = f"{block}_coupling"
        if not hasattr(self, name):
            have = [c.lower for c in self.couplings() if c.lower == c.upper]
            raise invalid("block", block, f"one with couplings within: {', '.join(have) or 'there is none'}")
        parameter, mask = self.get_parameter(name), self.get_buffer(f"{block}_mask")
        values = as_rows("matrix", matrix).to(parameter)
        if not bool(values.isfinite().all()):
            raise ArgumentError("matrix: got a value that is not finite, expected numbers")
        if values.shape != parameter.shape:
            raise invalid("matrix", tuple(values.shape), f"shape {tuple(parameter.shape)}")
        if not torch.equal(values, values.T):
            i, j = (values != values.T).nonzero()[0].tolist()
            got = f"{values[i, j]:g} at ({i}, {j}) and {values[j, i]:g} at ({j}, {i})"
            raise ArgumentError(f"matrix: got {got}, expected a symmetric matrix")
        outside = (values != 0) & ~(mask + mask.T).bool()
        if bool(outside.any()):
            i, j = outside.nonzero()[0].tolist()
            got = f"{values[i, j]:g} at ({i}, {j})"
            raise ArgumentError(f"matrix: got {got}, expected 0 where there is no edge")
        parameter.copy_(values * mask)
        self.project()

    @torch.no_grad()
    def project(self) -> None:
        """Bring couplings to their masks, and those within categorical layers to the zero-sum gauge.

        The gauge is left as it is where a coupling or the biases that would make up for it are frozen.
        """
        super().project()
        for coupling in self.couplings():
            parameter = self.get_parameter(coupling.name)
            free = parameter.requires_grad and self.layer(coupling.lower).bias.requires_grad
            if coupling.lower == coupling.upper and free:
                self._to_zero_sum(coupling.lower, parameter)

    # --- what the machine tells -----------------------------------------------------------------

    def encode(self, v: Any) -> Tensor:
        """Return the expected hidden statistics given rows of data, shape (rows, hidden width).

        Arguments:
            v: The rows, as :meth:`free_energy` takes them.

        Raises:
            ArgumentError: There are no hidden units, or they are coupled among each other (their
                expectation has no closed form: see :func:`harmonium.models.mean_field`).
            ArgumentTypeError: The rows are no numbers.
            DataError: They have another shape, or a value that the visible units cannot take.
        """
        if self.hidden is None or self.lateral("hidden") is not None:
            got = "no hidden units" if self.hidden is None else "hidden units that are coupled"
            raise ArgumentError(f"model: got {got}, expected hidden units that are independent given data")
        return self.hidden.expected_statistics(self.field("hidden", self.given(v)))

    # --- making ---------------------------------------------------------------------------------

    def _add_lateral(self, block: str, edges: Edges) -> None:
        unit = self.layer(block)
        if not hasattr(self, "_groups"):
            self._groups: dict[str, tuple[Any, Any]] = {}
        if isinstance(edges, bool) and not edges:
            return
        check_lateral(block, unit)
        check_memory(f"{block}_edges", edges, 2 * unit.width**2)
        columns = unit.width // unit.size
        units = torch.triu(_adjacency(f"{block}_edges", edges, unit.size), 1)
        mask = units.repeat_interleave(columns, 0).repeat_interleave(columns, 1)
        self.register_parameter(f"{block}_coupling", nn.Parameter(torch.zeros(unit.width, unit.width)))
        self.register_buffer(f"{block}_mask", mask.to(unit.bias.dtype))

    def _laterally_coupled(self, block: str) -> Tensor:
        """Return which columns of a block are coupled to others of it, shape (width)."""
        if not hasattr(self, f"{block}_coupling"):
            return torch.zeros(self.layer(block).width, dtype=torch.bool)
        mask = self.get_buffer(f"{block}_mask")
        return (mask + mask.T).bool().any(1)

    def _to_zero_sum(self, block: str, parameter: Tensor) -> None:
        """Move what rows and columns of each block have in common to the biases."""
        unit = self.layer(block)
        n, q = unit.size, unit.width // unit.size
        if q == 1:
            return
        blocks = parameter.view(n, q, n, q)
        rows, columns = blocks.mean(3, keepdim=True), blocks.mean(1, keepdim=True)
        both = rows.mean(1, keepdim=True)
        bias = unit.bias.view(n, q)
        bias += (rows - both).sum((2, 3)) + (columns - both).sum((0, 1))
        blocks -= rows + columns - both


def lattice(shape: Sequence[int], *, periodic: bool = True) -> Tensor:
    """Return the edges between nearest neighbours of a grid, shape (edges, 2).

    Arguments:
        shape: The grid's length in each dimension; its points are numbered as a flat image's pixels.
        periodic: Whether the ends of each dimension are neighbours too, where it is longer than two.

    Raises:
        ArgumentError: ``shape`` is empty, or a length is not positive.
    """
    if not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        raise invalid("shape", shape, "positive numbers, such as (8, 8)")
    points = torch.arange(math.prod(shape)).view(*shape)
    edges = []
    for axis, length in enumerate(shape):
        n = length if periodic and length > 2 else length - 1
        edges.append(torch.stack((points, points.roll(-1, axis)), -1).narrow(axis, 0, n).reshape(-1, 2))
    return torch.cat(edges)


def _adjacency(name: str, edges: Edges, n: int) -> Tensor:
    """Return which units are coupled, symmetric, shape (n, n).

    Raises:
        ArgumentError: The edges are of another shape, not symmetric, or join a unit to itself.
        ArgumentTypeError: They are no edges.
    """
    if isinstance(edges, bool):
        return ~torch.eye(n, dtype=torch.bool)
    expected = f"True, False, a matrix of shape ({n}, {n}), or pairs of units of shape (edges, 2)"
    given = as_rows(name, edges, expected)
    if given.shape == (n, n) and (given.dtype == torch.bool or n != 2):
        matrix = given.bool()
        if not torch.equal(matrix, matrix.T):
            i, j = (matrix != matrix.T).nonzero()[0].tolist()
            raise ArgumentError(f"{name}: got ({i}, {j}) without ({j}, {i}), expected a symmetric matrix")
    elif given.ndim == 2 and given.shape[1] == 2 and not given.is_floating_point():
        pairs = given.long()
        if len(pairs) and (int(pairs.min()) < 0 or int(pairs.max()) >= n):
            wrong = int(pairs.min()) if int(pairs.min()) < 0 else int(pairs.max())
            raise invalid(name, wrong, f"units from 0 to {n - 1}")
        matrix = torch.zeros(n, n, dtype=torch.bool)
        matrix[pairs[:, 0], pairs[:, 1]] = matrix[pairs[:, 1], pairs[:, 0]] = True
    else:
        raise invalid(name, f"shape {tuple(given.shape)}", expected)
    if bool(matrix.diagonal().any()):
        unit = int(matrix.diagonal().nonzero()[0])
        raise ArgumentError(f"{name}: got an edge from unit {unit} to itself, expected edges between units")
    return matrix


def _colour(mask: Tensor, n: int) -> tuple[Tensor, ...] | None:
    """Return groups of columns that no coupling joins, greedily, the units of most edges first."""
    q = len(mask) // n
    joined = (mask + mask.T)[::q, ::q].bool().cpu().numpy()
    colours = np.full(n, -1)
    for unit in np.argsort(-joined.sum(1), kind="stable"):
        taken = set(colours[joined[unit]].tolist())
        colours[unit] = next(c for c in range(n) if c not in taken)
        if colours[unit] >= _MOST_GROUPS:
            return None
    columns = torch.arange(n * q, device=mask.device).view(n, q)
    members = (np.flatnonzero(colours == c) for c in range(colours.max() + 1))
    return tuple(columns[torch.from_numpy(units)].flatten() for units in members)
