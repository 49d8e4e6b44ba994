"""Models on disk: parameters in safetensors, the rest in JSON."""

from __future__ import annotations

__all__ = ["MODELS", "load", "model_from_config", "save"]

from pathlib import Path
from typing import Any

import torch

from ..errors import FileError, choose
from ..files import load_tensors, save_tensors
from ._base import GenerativeModel
from ._rbm import RBM

MODELS: dict[str, type[RBM]] = {RBM.kind: RBM}
"""The models by name."""


def save(model: GenerativeModel, path: str | Path) -> None:
    """Write a model to a safetensors file.

    Raises:
        FileError: The folder cannot be written.
    """
    save_tensors(path, "model", model.state_dict(), {"kind": model.kind, "config": model.config()})


def load(path: str | Path) -> RBM:
    """Read a model that :func:`save` wrote.

    Raises:
        FileError: The file is missing, damaged, or written by a newer version.
    """
    tensors, content = load_tensors(path, "model")
    model = model_from_config(content["kind"], content["config"])
    if any(t.dtype == torch.float64 for t in tensors.values()):
        model.double()
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise FileError(f"{path}: its tensors do not fit its configuration ({error})") from error
    return model


def model_from_config(kind: str, config: dict[str, Any]) -> RBM:
    """Make the model that ``config`` describes, with fresh parameters."""
    family: type[RBM] = choose("model", kind, MODELS)
    return family.from_config(config)
