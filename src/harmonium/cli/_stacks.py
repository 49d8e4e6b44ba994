"""Stacks of layers as they are asked for on the command line: their sizes, types and masks.

Sizes are a list from the lowest hidden layer up, ``hidden=[500,500,2000]``. A mask says what a hidden layer
sees of the layer below: ``random:INPUTS`` that many of its units, drawn at random for each hidden unit,
``local:SIZE`` a square window of the image for each, or the path of an array; ``null`` is all of it.
"""

from __future__ import annotations

__all__ = ["make_masks", "make_stack"]

from pathlib import Path
from typing import Any

from ..datasets import Dataset
from ..errors import ArgumentError, invalid
from ..models import local_mask, random_mask
from ..units import UNITS, Unit
from ._settings import read_array, refuse_others, signature_keys, under
from ._units import make_layer

_MASKS = "random:INPUTS, local:SIZE or the path of an array"


def make_stack(values: dict[str, Any]) -> list[Unit]:
    """Make the hidden layers that were asked for, the lowest first.

    Raises:
        ArgumentError: There are none, or their types do not fit.
    """
    sizes = values.get("hidden")
    if sizes is None:
        raise ArgumentError("hidden: missing, expected --set hidden=[NUMBER,...], from the lowest layer up")
    sizes = sizes if isinstance(sizes, list) else [sizes]
    for size in sizes:
        if size < 1:
            raise invalid("hidden", size, "a positive number of units")
    kinds = values.get("hidden_units", "bernoulli")
    if not isinstance(kinds, list):
        return [make_layer("hidden", kinds, size, values) for size in sizes]
    if len(kinds) != len(sizes):
        raise invalid(
            "hidden_units", kinds, f"one type, or a list of {len(sizes)}, one for each hidden layer"
        )
    own = {kind: [*signature_keys(UNITS[kind])] for kind in kinds if kind in UNITS}
    refuse_others("hidden.", values, "these units", sorted({key for keys in own.values() for key in keys}))
    given = under("hidden.", values)
    layers = []
    for kind, size in zip(kinds, sizes, strict=True):
        mine = {f"hidden.{name}": value for name, value in given.items() if name in own.get(kind, ())}
        layers.append(make_layer("hidden", kind, size, mine))
    return layers


def make_masks(asked: str | list[str | None], data: Dataset, sizes: list[int], seed: int) -> list[Any]:
    """Make the masks that were asked for, one for each pair of neighbouring layers.

    Arguments:
        asked: What was typed: one mask for all pairs, or a list.
        data: The data set, which knows whether its rows are images.
        sizes: The numbers of units of all layers, the visible one first.
        seed: Draws what is random.

    Raises:
        ArgumentError: A mask cannot be read, does not fit, or there are too few or too many.
    """
    pairs = len(sizes) - 1
    texts = asked if isinstance(asked, list) else [asked] * pairs
    if len(texts) != pairs:
        raise invalid("masks", texts, f"one mask, or a list of {pairs}, one for each pair of layers")
    return [
        None if text is None else _make_mask(text, number, data, sizes[number : number + 2], seed + number)
        for number, text in enumerate(texts)
    ]


def _make_mask(text: str, number: int, data: Dataset, sizes: list[int], seed: int) -> Any:
    """Make the mask between layer ``number`` and the one above it."""
    lower, upper = sizes
    kind, _, size = text.partition(":")
    if kind not in ("random", "local") and Path(text).is_file():
        return read_array("masks", text)
    if kind not in ("random", "local") or not size.isdecimal():
        raise invalid("masks", text, _MASKS)
    if kind == "random":
        return random_mask(lower, upper, int(size), seed=seed)
    shape = [length for length in data.shape if length > 1]
    if number or len(shape) != 2:
        expected = f"another mask than a local one for layer {number + 1}, as what it sees is no image"
        raise invalid("masks", text, expected)
    return local_mask(shape, upper, int(size), seed=seed)
