"""What models ask of their layers."""

from __future__ import annotations

__all__ = ["SCALE", "as_layer", "as_mask", "check_lateral", "check_pair", "initial_weight", "warn_of_idle"]

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentTypeError, HarmoniumWarning, check_memory, invalid
from ..random import Stream
from ..units import Bernoulli, Unit, as_rows

SCALE = 0.01

_SHOWN = 10


def as_layer(name: str, units: int | Unit) -> Unit:
    """Return a layer as it is, and a number as so many Bernoulli units.

    Raises:
        ArgumentError: The number is not positive, or a visible layer's units are for hidden ones.
        ArgumentTypeError: It is neither.
    """
    if isinstance(units, Unit):
        if name == "visible" and units.hidden_only:
            raise invalid(name, units, "units that can model data; ReLU ones are for hidden layers")
        return units
    if isinstance(units, bool) or not isinstance(units, int):
        raise ArgumentTypeError(f"{name}: got {units!r}, expected a number of units or a layer")
    if units < 1:
        raise invalid(name, units, "a positive number of units, or a layer")
    return Bernoulli(units)


def check_pair(visible: Unit, hidden: Unit) -> None:
    """Check that a visible and a hidden layer may be coupled.

    Raises:
        ArgumentError: Their joint need not be normalisable, or a parameter would change nothing.
    """
    if not (visible.discrete or hidden.discrete):
        expected = "discrete units above real ones, or their joint need not be normalisable"
        raise invalid("hidden", hidden, expected)
    if any(p.requires_grad for name, p in hidden.named_parameters() if name != "bias"):
        expected = "a fixed precision, since learning it would only rescale the weights"
        raise invalid("hidden", hidden, expected)


def check_lateral(block: str, unit: Unit) -> None:
    """Check that the units of a layer may be coupled to each other.

    Raises:
        ArgumentError: They are not discrete, of one kind.
    """
    if unit.support() is None:
        expected = "False, as only Bernoulli, spin or categorical units are coupled within a layer"
        raise invalid(f"{block}_edges", True, expected)


def initial_weight(visible: Unit, hidden: Unit, seed: int) -> nn.Parameter:
    """Draw the weights between two layers before training, shape (visible width, hidden width).

    Raises:
        ArgumentError: There are more than memory holds.
    """
    check_memory("hidden", hidden.size, visible.width * hidden.width)
    return nn.Parameter(SCALE * Stream(seed, "weight").normal(visible.width, hidden.width))


def as_mask(
    mask: Any,
    lower: Unit,
    upper: Unit,
    *,
    name: str = "weight_mask",
    ends: tuple[str, str] = ("visible", "hidden"),
) -> Tensor:
    """Return where two layers' units may be coupled, for each column of their statistics, as numbers.

    Arguments:
        mask: Truth values of shape (lower units, upper units).
        lower: The lower layer.
        upper: The upper one.
        name: The argument's, for errors.
        ends: The layers' names, for errors.

    Raises:
        ArgumentError: The mask has another shape.
    """
    shape = (lower.size, upper.size)
    expected = f"shape {shape}: {ends[0]} x {ends[1]} units"
    given = as_rows(name, mask, f"truth values of {expected}").bool()
    if given.shape != shape:
        raise invalid(name, tuple(given.shape), expected)
    return lower.expand(upper.expand(given).T).T.to(lower.bias.dtype)


def warn_of_idle(name: str, ends: tuple[str, str], unit: Unit, coupled: Tensor) -> None:
    """Warn of units that a mask leaves without a coupling, which are probably not meant.

    Arguments:
        name: The argument's.
        ends: The names of the units' layer and of the one that they might be coupled to.
        unit: The layer.
        coupled: Which columns of its statistics have a coupling, shape (width).
    """
    idle = unit.expand(torch.arange(unit.size))[~coupled].unique().tolist()
    if idle:
        shown = ", ".join(map(str, idle[:_SHOWN])) + (", ..." if len(idle) > _SHOWN else "")
        which = f"unit {shown} has" if len(idle) == 1 else f"units {shown} have"
        message = f"{name}: {ends[0]} {which} no coupling to {ends[1]} units"
        warnings.warn(message, HarmoniumWarning, stacklevel=3)
