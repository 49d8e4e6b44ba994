"""What models ask of their layers."""

from __future__ import annotations

__all__ = ["INITIAL_SCALE", "as_layer", "as_mask", "check_lateral", "check_pair"]

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ArgumentTypeError, invalid
from ..units import Bernoulli, Unit

INITIAL_SCALE = 0.01
"""The standard deviation of weights before training."""


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


def as_mask(mask: Any, visible: Unit, hidden: Unit) -> Tensor:
    """Return where two layers' units may be coupled, for each column of their statistics, as numbers.

    Arguments:
        mask: Truth values of shape (visible units, hidden units).
        visible: The lower layer.
        hidden: The upper one.

    Raises:
        ArgumentError: The mask has another shape.
    """
    given = torch.as_tensor(np.asarray(mask)).bool()
    expected = (visible.size, hidden.size)
    if given.shape != expected:
        raise invalid("weight_mask", tuple(given.shape), f"shape {expected}: visible x hidden units")
    return visible.expand(hidden.expand(given).T).T.to(visible.bias.dtype)
