"""Dropout in networks of torch's layers, from a stream."""

from __future__ import annotations

__all__ = ["own_bits"]

import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from .. import kernels
from ..models import Model
from ..random import Stream


@contextmanager
def own_bits(model: Model, stream: Stream, *, unseen: bool = False) -> Iterator[None]:
    """Let a model's dropout draw from a stream; torch's own generators are left as they are.

    The masks of ``nn.Dropout`` come from the kernels, several times as fast as torch draws them on a CPU.
    Its relatives, of whole channels for one, draw from torch's generator with a seed of the stream.

    Arguments:
        model: The model.
        stream: What all bits come from.
        unseen: Whether layers may draw from torch's generator in ways that their types do not tell.
    """
    parts = [part for part in model.modules() if isinstance(part, _DropoutNd) and part.p > 0]
    own: list[Any] = [part for part in parts if type(part) is nn.Dropout and part.p < 1]
    for part in own:
        part.forward = partial(_left_out, part, stream)
    others = unseen or len(own) < len(parts)
    try:
        with stream.seeding(model.device) if others else nullcontext():
            yield
    finally:
        for part in own:
            del part.forward


def _left_out(part: nn.Dropout, stream: Stream, x: Tensor) -> Tensor:
    """Return the values with some left out and the others scaled up, as ``part`` does by itself."""
    if not part.training:
        return x
    field = torch.full((len(x), math.prod(x.shape[1:])), math.log(1 / part.p - 1), device=x.device)
    kept = torch.empty_like(field)
    kernels.bernoulli(field, stream.draw(), kept)
    return x * kept.div_(1 - part.p).view(x.shape).to(x.dtype)
