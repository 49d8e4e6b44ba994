"""Layers of units as they are named on the command line.

A layer of one type is its name; its settings are keys of their own, such as ``visible.states=3``. A mixed
layer lists its parts, each with its number of units, and categorical ones with that of their states:
``mixed:bernoulli:784+categorical:1x10``. Settings then hold for the parts that have them.
"""

from __future__ import annotations

__all__ = ["as_text", "make_layer"]

from typing import Any

from ..errors import ArgumentError, choose, invalid
from ..units import UNITS, Mixed, Unit
from ._settings import refuse_others, signature_keys, under

_EXAMPLE = "mixed:bernoulli:784+categorical:1x10"


def make_layer(layer: str, text: str, size: int, values: dict[str, Any]) -> Unit:
    """Make the layer that was asked for.

    Arguments:
        layer: ``visible`` or ``hidden``.
        text: The type of its units, or the parts of a mixed layer.
        size: The number of its units.
        values: The settings that were typed, by key.

    Raises:
        ArgumentError: A type is unknown, a setting is missing or belongs to no part, or the parts have
            another number of units.
    """
    if size < 1:
        raise invalid(layer, size, "a positive number of units")
    name, _, rest = text.partition(":")
    if name != Mixed.kind:
        kind = choose(layer, text, UNITS).kind
        refuse_others(f"{layer}.", values, f"{kind} units", signature_keys(UNITS[kind]))
        return _make(layer, kind, size, under(f"{layer}.", values))
    parts = [_read(layer, part) for part in rest.split("+")]
    if sum(n for _, n, _ in parts) != size:
        raise invalid(layer, text, f"parts of {size} units together")
    own = {key for kind, _, _ in parts for key in signature_keys(UNITS[kind])}
    refuse_others(f"{layer}.", values, "these parts", sorted(own))
    given = under(f"{layer}.", values)
    return Mixed(*(_make(layer, kind, n, {**given, **states}) for kind, n, states in parts))


def as_text(layer: dict[str, Any]) -> str:
    """Return a mixed layer's configuration as it is typed."""
    parts = layer["parts"]
    sizes = [f"{part['size']}x{part['states']}" if "states" in part else str(part["size"]) for part in parts]
    return f"{Mixed.kind}:" + "+".join(f"{p['kind']}:{size}" for p, size in zip(parts, sizes, strict=True))


def _read(layer: str, part: str) -> tuple[str, int, dict[str, int]]:
    """Return the type, the number of units and the states of a part such as ``categorical:1x10``."""
    kind, _, numbers = part.partition(":")
    size, by, states = numbers.partition("x")
    if not size.isdecimal() or (by and (kind != "categorical" or not states.isdecimal())):
        raise invalid(layer, part or Mixed.kind, f"a type and a number of units, as in {_EXAMPLE}")
    choose(layer, kind, [name for name in UNITS if name != Mixed.kind])
    return kind, int(size), {"states": int(states)} if by else {}


def _make(layer: str, kind: str, size: int, given: dict[str, Any]) -> Unit:
    """Make a layer of one type with those of its settings that are given."""
    keys = signature_keys(UNITS[kind])
    if "states" in keys and "states" not in given:
        raise ArgumentError(f"{layer}.states: missing, expected --set {layer}.states=NUMBER")
    return UNITS[kind](size, **{name: value for name, value in given.items() if name in keys})
