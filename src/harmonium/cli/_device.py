"""Where a model is trained."""

from __future__ import annotations

__all__ = ["as_device"]

import torch

from ..errors import invalid

_NAMES = "cpu, cuda, cuda:1 or mps"


def as_device(name: str) -> torch.device:
    """Return a device that is there.

    Raises:
        ArgumentError: There is none of that name, or not on this machine.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        raise invalid("device", name, _NAMES) from None
    counts = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device.type not in counts:
        raise invalid("device", name, _NAMES)
    if (device.index or 0) >= counts[device.type]:
        raise invalid("device", name, "cpu, or a device that PyTorch sees on this machine")
    return device
