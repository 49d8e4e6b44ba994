"""Models on disk: parameters in safetensors, the rest in JSON."""

from __future__ import annotations

__all__ = ["MODELS", "check_fit", "check_same", "load", "load_parameters", "model_from_config", "save"]

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets import Schema, Transform
from ..errors import FileError, choose
from ..files import load_tensors, save_tensors
from ._base import Model, check_model
from ._boltzmann import BoltzmannMachine
from ._dbm import DBM, DBMClassifier
from ._dbn import DBN
from ._gan import GAN
from ._mlp import MLP, Autoencoder
from ._rbm import RBM

MODELS: dict[str, type[Model]] = {
    model.kind: model for model in (RBM, BoltzmannMachine, DBN, DBM, GAN, MLP, DBMClassifier, Autoencoder)
}
"""The models by name."""

_TRANSFORM = "transform:"
"""What the names of a transform's tensors begin with."""


def save(model: Model, path: str | Path) -> None:
    """Write a model to a safetensors file, with the transform or the schema of the rows it was trained on.

    Raises:
        ArgumentTypeError: ``model`` is no model.
        FileError: The folder cannot be written.
    """
    check_model(model, Model)
    tensors, content = dict(model.state_dict()), {"kind": model.kind, "config": model.config()}
    if model.transform is not None:
        content["transform"] = model.transform.config()
        tensors |= {f"{_TRANSFORM}{name}": t for name, t in model.transform.state().items()}
    if model.schema is not None:
        content["schema"] = model.schema.config()
    save_tensors(path, "model", tensors, content)


def load(path: str | Path, model: Model | None = None) -> Model:
    """Read a model that :func:`save` wrote.

    Arguments:
        path: The file.
        model: Where to read it into, which is what a model of the user's own networks needs; it is returned.

    Raises:
        ArgumentTypeError: ``model`` is no model.
        FileError: The file is missing, damaged, written by a newer version, or of another model.
    """
    tensors, content = load_tensors(path, "model")
    tensors, transform = _part(path, tensors, content)
    if model is not None:
        check_same(path, model, content)
    else:
        model = _remade(path, content)
    if any(t.dtype == torch.float64 for t in tensors.values()):
        model.double()
    check_fit(path, model, tensors)
    model.load_state_dict(tensors)
    model.transform, model.schema = transform, _schema(path, content)
    return model


def check_same(path: str | Path, model: object, content: dict[str, Any]) -> None:
    """Check that a model is of the kind and the configuration that a file tells of.

    Raises:
        ArgumentTypeError: It is no model.
        FileError: It is another one.
    """
    check_model(model, Model)
    assert isinstance(model, Model)
    if (content.get("kind"), content.get("config")) != (model.kind, model.config()):
        raise FileError(f"{path}: it is of another model than the {model.kind} that is given")


def load_parameters(path: str | Path) -> dict[str, Tensor]:
    """Read the parameters of a model that :func:`save` wrote.

    Raises:
        FileError: The file is missing, damaged, or written by a newer version.
    """
    return _part(path, *load_tensors(path, "model"))[0]


def _part(path: str | Path, tensors: dict[str, Tensor], content: Any) -> tuple[dict[str, Tensor], Any]:
    """Return a file's parameters and the transform beside them, or None."""
    own = {name: t for name, t in tensors.items() if not name.startswith(_TRANSFORM)}
    config = content.get("transform") if isinstance(content, dict) else None
    if config is None:
        return own, None
    state = {name.removeprefix(_TRANSFORM): t for name, t in tensors.items() if name not in own}
    try:
        return own, Transform.from_state(config, state)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: its transform is none that this harmonium knows ({error})") from error


def _schema(path: str | Path, content: Any) -> Schema | None:
    """Return the schema that a file holds, or None."""
    config = content.get("schema")
    try:
        return None if config is None else Schema.from_config(config)
    except (TypeError, ValueError, KeyError) as error:
        raise FileError(f"{path}: its schema is none that this harmonium knows ({error})") from error


def check_fit(path: str | Path, model: Model, tensors: dict[str, Tensor]) -> None:
    """Check that tensors have the names and shapes of the model's own.

    Raises:
        FileError: One is missing, unknown, or of another shape.
    """
    own = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in sorted(own.keys() | got.keys()):
        if own.get(name) != got.get(name):
            raise FileError(
                f"{path}: its tensors do not fit its configuration: {name} has shape "
                f"{got.get(name, 'none')}, expected {own.get(name, 'none')}"
            )


def _remade(path: str | Path, content: dict[str, Any]) -> Model:
    """Make the model that a file tells of, with fresh parameters."""
    try:
        return model_from_config(content["kind"], content["config"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FileError(f"{path}: describes no model that this harmonium knows ({reason})") from error


def model_from_config(kind: str, config: dict[str, Any]) -> Model:
    """Make the model that ``config`` describes, with fresh parameters."""
    family: type[Model] = choose("model", kind, MODELS)
    return family.from_config(config)
