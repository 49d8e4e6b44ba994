r"""Types of units: everything about one kind of random variable, in one class.

A layer of independent units with statistics :math:`s(x)` in a field :math:`a` has the density

.. math:: p(x \mid a) = \exp(a^\top s(x) - e(x) - A(a)),

where :math:`e` is the part of the energy that no neighbour changes (zero for discrete units,
:math:`x^\top \mathrm{diag}(\beta) x / 2` for real ones) and :math:`A` the log-partition function,
whose gradient is the expected statistic. A layer's own energy is :math:`e(x) - b^\top s(x)`; the field
is its bias plus what comes from the layers it is coupled to. All that a model needs of a unit follows
from these: energies, conditionals, free energies, samples, enumeration and annealing.

Inside the library a state is the statistic: the value itself, and for categorical units one-hot blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import choose
from ._discrete import Bernoulli, Categorical, Spin
from ._gaussian import Gaussian
from ._mixed import Mixed
from ._relu import ReLU
from ._rows import as_rows, by_pattern, complete, first_gap
from ._unit import Unit

UNITS: dict[str, type[Unit]] = {
    unit.kind: unit for unit in (Bernoulli, Spin, Categorical, Gaussian, ReLU, Mixed)
}
"""The types of units by name."""

__all__ = [
    "UNITS",
    "Bernoulli",
    "Categorical",
    "Gaussian",
    "Mixed",
    "ReLU",
    "Spin",
    "Unit",
    "as_rows",
    "by_pattern",
    "complete",
    "first_gap",
    "unit_from_config",
]


def unit_from_config(config: dict[str, Any]) -> Unit:
    """Make the layer that :meth:`Unit.config` describes.

    Raises:
        ArgumentError: The kind is unknown.
    """
    arguments = dict(config)
    kind: Callable[..., Unit] = choose("kind", arguments.pop("kind", None), UNITS)
    parts = [unit_from_config(part) for part in arguments.pop("parts", ())]
    return kind(*parts, **arguments)
