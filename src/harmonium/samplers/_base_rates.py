"""The units of a model without its couplings, the visible ones with the data's base rates."""

from __future__ import annotations

__all__ = ["base_biases"]

import torch

from ..errors import ArgumentError
from ..models import EnergyModel, State


@torch.no_grad()
def base_biases(model: EnergyModel) -> State:
    """Return the biases of each block's units where they are independent, by the block's name.

    Those of observed units give the data's base rates, or are the model's own where those are not known;
    hidden ones are zero.

    Raises:
        ArgumentError: A base rate is one that no field gives, such as 0 or 1 of bits.
    """
    unit = model.visible
    known = not bool(model.base_rates.isnan().any())
    bias = unit.natural(model.base_rates) if known else unit.bias.detach().clone()
    if not bool(bias.isfinite().all()):
        raise ArgumentError("base_rates: got one that no field gives, expected means between the states")
    biases = {block: torch.zeros_like(model.layer(block).bias) for block in model.blocks()}
    return {**biases, **model.observed(bias)}
