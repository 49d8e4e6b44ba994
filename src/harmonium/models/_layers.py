"""What models ask of their layers."""

from __future__ import annotations

__all__ = ["as_layer", "check_lateral", "check_pair", "initial_weight"]

from torch import nn

from ..errors import ArgumentTypeError, check_memory, invalid
from ..random import Stream
from ..units import Bernoulli, Unit

_SCALE = 0.01


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
    return nn.Parameter(_SCALE * Stream(seed, "weight").normal(visible.width, hidden.width))
