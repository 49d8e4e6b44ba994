r"""How one block is drawn given the others, whatever its units are coupled to.

Units that are independent given the other blocks are drawn at once. Units that are coupled among each
other are drawn group by group, where few groups hold units that no coupling joins (a lattice has two);
else one after the other, in one fused sweep that keeps each row's fields up to date.
"""

from __future__ import annotations

__all__ = ["draw_block"]

import torch
from torch import Tensor

from .. import kernels
from ..models import EnergyModel, State
from ..random import Stream
from ..units import Unit


def draw_block(
    model: EnergyModel,
    block: str,
    field: Tensor,
    state: State,
    stream: Stream,
    *,
    mean: Tensor | None = None,
    beta: Tensor | None = None,
    scale: Tensor | float = 1.0,
    held: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    r"""Draw the states of a block, shape (rows, width); called where no gradient is wanted.

    Arguments:
        model: The model.
        block: The block's name.
        field: Its fields given all present states, its own among them; already tempered, overwritten.
        state: The present states.
        stream: Where the random bits come from.
        mean: Memory for the expected statistics; left alone where units are coupled to each other.
        beta: Inverse temperatures of the units' own energies, shape (rows); see :meth:`Unit.sample_`.
        scale: What the couplings within the block are multiplied by, one number or one for each row.
        held: Which columns keep their states, shape (rows, width), where units are coupled to each other.
        reverse: Draw in the opposite order: the time reversal of a sweep.
    """
    unit, lateral = model.layer(block), model.lateral(block)
    if lateral is None or block not in state:
        return unit.sample_(field, stream, mean, beta)
    x = state[block].clone()
    groups = model.groups(block)
    if groups is None:
        _sweep(unit, field, x, lateral, stream, scale, held, reverse)
        return x
    factor = scale.to(field)[:, None] if isinstance(scale, Tensor) else scale
    for columns in reversed(groups) if reverse else groups:
        old, new = x[:, columns], unit.sample(field, stream)[:, columns]
        if held is not None:
            new = torch.where(held[:, columns], old, new)
        field += factor * ((new - old) @ lateral[columns])
        x[:, columns] = new
    return x


def _sweep(
    unit: Unit,
    field: Tensor,
    x: Tensor,
    lateral: Tensor,
    stream: Stream,
    scale: Tensor | float,
    held: Tensor | None,
    reverse: bool,
) -> None:
    columns = unit.width // unit.size
    if not isinstance(scale, Tensor):
        scale = torch.full((len(x),), scale, dtype=field.dtype, device=field.device)
    kernels.sweep(
        field,
        x,
        lateral.contiguous(),
        stream.draw(),
        unit.kind,
        states=columns,
        scale=scale.to(field),
        held=None if held is None else held[:, ::columns].contiguous(),
        reverse=reverse,
    )
