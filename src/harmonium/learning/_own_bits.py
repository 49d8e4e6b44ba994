"""Dropout in networks of torch's layers, from a stream."""

from __future__ import annotations

__all__ = ["own_bits"]

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from ..models import Model
from ..random import Stream


@contextmanager
def own_bits(model: Model, stream: Stream) -> Iterator[None]:
    """Let a model's dropout draw from a stream; torch's own generators are left as they are."""
    if not any(map(_drops, model.modules())):
        yield
        return
    with torch.random.fork_rng([model.device] if model.device.type == "cuda" else []):
        torch.manual_seed(stream.integer())
        yield


def _drops(part: nn.Module) -> bool:
    return isinstance(part, _DropoutNd) and part.p > 0
