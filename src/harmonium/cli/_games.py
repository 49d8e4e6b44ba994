"""Games of two networks as they are asked for on the command line: the family, and its settings."""

from __future__ import annotations

__all__ = ["make_game"]

from typing import Any

from ..datasets import Dataset
from ..errors import ArgumentError
from ..models import GAN, NETWORKS
from ..units import Categorical, Unit
from ._settings import refuse_others, under

_IMAGES, _OTHERS = "dcgan", "mlp"


def make_game(data: Dataset, pixels: Unit, values: dict[str, Any]) -> GAN:
    """Make the generative adversarial network that was asked for.

    Arguments:
        data: The data set; its classes are told to both networks if its rows end in them.
        pixels: The units of a row, its label apart.
        values: The settings that were typed, by key.

    Raises:
        ArgumentError: A setting belongs to another family, or does not fit the data; or these are integers.
    """
    if isinstance(pixels, Categorical) and data.kind == "integers":
        expected = "bits, reals, or grey values, as which --set data.binarisation=none takes integers"
        raise ArgumentError(f"data: got integers in {data.name}, expected {expected}")
    name = values.get("network") or (_IMAGES if len(data.shape) > 1 else _OTHERS)
    refuse_others("network.", values, f"{name} networks", NETWORKS[name].model_fields)
    classes = None if data.classes is None else len(data.classes)
    own = {**under("network.", values), **under("model.", values)}
    return GAN.of(name, data.shape, visible=pixels, classes=classes, **own)
