"""What models ask of their layers."""

from __future__ import annotations

__all__ = [
    "SCALE",
    "as_classes",
    "as_layer",
    "as_layers",
    "as_mask",
    "as_masks",
    "as_truths",
    "check_lateral",
    "check_pair",
    "described",
    "initial_weight",
    "pair_mask",
    "warn_of_idle",
    "with_label",
]

import math
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentTypeError, HarmoniumWarning, check_memory, invalid, show
from ..random import Stream
from ..units import Bernoulli, Categorical, Mixed, Unit, as_rows, unit_from_config

SCALE = 0.01

_SHOWN = 10


def as_layer(name: str, units: int | Unit | Mapping[str, Any], *, inner: bool = False) -> Unit:
    """Return a layer as it is, a number as so many Bernoulli units, and the layer of a configuration.

    Arguments:
        name: The argument's: ``visible`` for the visible layer.
        units: The layer, or what stands for it.
        inner: Whether a visible layer is a hidden one of a network.

    Raises:
        ArgumentError: The number is not positive, or a visible layer's units are for hidden ones.
        ArgumentTypeError: It is neither.
    """
    if isinstance(units, Mapping):
        units = unit_from_config(dict(units))
    if isinstance(units, Unit):
        if name == "visible" and units.hidden_only and not inner:
            raise invalid(name, units, "units that can model data; ReLU ones are for hidden layers")
        return units
    if isinstance(units, bool) or not isinstance(units, int):
        raise ArgumentTypeError(f"{name}: got {units!r}, expected a number of units or a layer")
    if units < 1:
        raise invalid(name, units, "a positive number of units, or a layer")
    return Bernoulli(units)


def as_layers(layers: Any) -> list[Unit]:
    """Return the layers of a deep model, from the visible one up; see :func:`as_layer`.

    Raises:
        ArgumentError: There are fewer than two, or one is none.
        ArgumentTypeError: They are no list.
    """
    if isinstance(layers, str) or not isinstance(layers, Sequence):
        raise ArgumentTypeError(f"layers: got {show(layers)}, expected a list such as [784, 500, 2000]")
    if len(layers) < 2:
        raise invalid("layers", layers, "at least two layers, the visible one first")
    names = ["visible", *(f"hidden {number}" for number in range(1, len(layers)))]
    return [as_layer(name, units) for name, units in zip(names, layers, strict=True)]


def as_classes(classes: Any) -> int | None:
    """Return the number of a label's classes, or None for no label.

    Raises:
        ArgumentError: It is neither.
    """
    if classes is not None and (isinstance(classes, bool) or not isinstance(classes, int) or classes < 2):
        raise invalid("classes", classes, "at least two classes, or None")
    return classes


def with_label(unit: Unit, classes: int) -> Mixed:
    """Return a copy of a layer with a label as its last part."""
    parts = unit.parts if isinstance(unit, Mixed) else [unit]
    mixed = Mixed(*parts, Categorical(1, classes).to(unit.bias))
    mixed.bias.data[: unit.width] = unit.bias.detach()
    return mixed


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


def initial_weight(visible: Unit, hidden: Unit, seed: int, scale: Any = SCALE) -> nn.Parameter:
    """Draw the weights between two layers before training, shape (visible width, hidden width).

    Arguments:
        visible: The visible layer.
        hidden: The hidden layer.
        seed: Draws the weights.
        scale: Their standard deviation.

    Raises:
        ArgumentError: There are more than memory holds, or ``scale`` is no finite number from 0 up.
        ArgumentTypeError: ``scale`` is no number.
    """
    if isinstance(scale, bool) or not isinstance(scale, Real):
        raise ArgumentTypeError(f"weight_scale: got {show(scale)}, expected a number")
    if not 0 <= float(scale) < math.inf:
        raise invalid("weight_scale", scale, "a finite number from 0 up")
    check_memory("hidden", hidden.size, visible.width * hidden.width)
    return nn.Parameter(float(scale) * Stream(seed, "weight").normal(visible.width, hidden.width))


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
        ArgumentError: The mask has another shape, or other values.
    """
    shape = (lower.size, upper.size)
    expected = f"shape {shape}: {ends[0]} x {ends[1]} units"
    given = as_truths(name, mask, expected)
    if given.shape != shape:
        raise invalid(name, tuple(given.shape), expected)
    return lower.expand(upper.expand(given).T).T.to(lower.bias.dtype)


def as_truths(name: str, mask: Any, expected: str) -> Tensor:
    """Return a mask as truth values.

    Arguments:
        name: The argument's, for errors.
        mask: Truth values, or numbers that are 0 and 1.
        expected: Their shape, for errors.

    Raises:
        ArgumentError: A value is neither 0 nor 1.
        ArgumentTypeError: It holds no numbers.
    """
    given = as_rows(name, mask, f"truth values of {expected}")
    other = given[(given != 0) & (given != 1)]
    if len(other):
        raise invalid(name, other[0].item(), f"truth values, 0 or 1, of {expected}")
    return given.bool()


def as_stack_size(layers: Any, depth: int, name: str = "layers") -> int:
    """Return the number of RBMs of a stack, by default as many as there are hidden layers.

    Raises:
        ArgumentError: It is no number of hidden layers.
    """
    if layers is None:
        return depth
    if isinstance(layers, bool) or not isinstance(layers, int) or not 1 <= layers <= depth:
        raise invalid(name, layers, f"a number of RBMs from 1 to {depth}")
    return layers


def as_masks(masks: Any, pairs: int) -> list[Any]:
    """Return the mask of each pair of neighbouring layers, or None for each.

    Raises:
        ArgumentError: There are more or fewer than there are pairs.
        ArgumentTypeError: They are no list.
    """
    if masks is not None and (isinstance(masks, str) or not isinstance(masks, Sequence)):
        raise ArgumentTypeError(f"masks: got {show(masks)}, expected a list of a mask or None for each pair")
    given = [None] * pairs if masks is None else list(masks)
    if len(given) != pairs:
        raise invalid("masks", len(given), f"{pairs}, one for each pair of layers")
    return given


def described(config: dict[str, Any]) -> tuple[list[Unit], list[Tensor | None]]:
    """Return the layers that a deep model's configuration tells of, and masks of ones where it is masked."""
    units = [unit_from_config(unit) for unit in config["layers"]]
    pairs = zip(pairwise(units), config["masked"], strict=True)
    return units, [torch.ones(a.size, b.size) if masked else None for (a, b), masked in pairs]


def pair_mask(number: int, mask: Any, lower: Unit, upper: Unit) -> Tensor:
    """Return a deep model's mask between layers ``number`` and ``number + 1``, as :func:`as_mask` does.

    Raises:
        ArgumentError: The mask has another shape.
    """
    name, ends = f"masks[{number}]", (f"layer {number}", f"layer {number + 1}")
    wide = as_mask(mask, lower, upper, name=name, ends=ends)
    warn_of_idle(name, ends, lower, wide.bool().any(1))
    warn_of_idle(name, ends[::-1], upper, wide.bool().any(0))
    return wide


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
