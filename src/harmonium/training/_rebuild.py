"""From a run folder's configuration back to the model, the rule and the options."""

from __future__ import annotations

__all__ = ["check_changes", "described", "is_function_note", "plain", "rebuild", "remake"]

from typing import Any

import torch

from ..errors import FileError, HarmoniumError, choose, invalid, show
from ..learning import RULES, Rule
from ..models import Model, check_same, model_from_config
from ._options import Options
from .checkpoint import RunFolder

_FIXED = {"seed", "init", "batch_size", "averaging", "optimizer"}


def rebuild(
    folder: RunFolder, changes: dict[str, Any], model: Model | None = None
) -> tuple[Model, Rule, Options]:
    """Return the model, the rule and the options that a run folder tells of.

    Arguments:
        folder: The run folder.
        changes: The options to change.
        model: The model, if it is to be no new one.

    Raises:
        ArgumentError: An option cannot be changed, or not in that way.
        FileError: The folder is no run, or its configuration is damaged.
    """
    config = folder.config()
    noted = config["options"]
    given = {name: value for name, value in noted.items() if not is_function_note(value)}
    if model is not None:
        check_same(folder.config_path, model, config["model"])
    try:
        model = model or remake(config["model"])
        rule = dict(config["rule"])
        kind: type[Rule] = choose("rule", rule.pop("name", None), RULES)
        made = kind(**rule)
        Options(**given)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = error if isinstance(error, HarmoniumError) else show(error)
        raise FileError(f"{folder.config_path}: damaged ({reason})") from error
    missing = set(noted) - set(given) - set(changes)
    if missing:
        raise FileError(
            f"{folder.path}: the run was given a function as {', '.join(sorted(missing))}, "
            "which no file can hold; give it again"
        )
    check_changes(noted, changes)
    return model, made, Options(**{**given, **changes})


def remake(config: dict[str, Any]) -> Model:
    """Return a model of the kind, precision and device that a configuration tells of."""
    model = model_from_config(config["kind"], config["config"])
    for name in config["frozen"]:
        model.get_parameter(name).requires_grad_(False)
    device = torch.device(config["device"])
    there = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_available())
    dtype = {"float32": torch.float32, "float64": torch.float64}[config["dtype"]]
    return model.to(device if there else "cpu", dtype)


def described(model: Model) -> dict[str, Any]:
    """Return what :func:`remake` makes a model like this one from, as JSON values."""
    return {
        "kind": model.kind,
        "config": model.config(),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        "frozen": [k for k, p in model.named_parameters() if not p.requires_grad],
    }


def plain(options: Options) -> dict[str, Any]:
    """Return the options as JSON values, with a note in place of each function."""
    values = {name: getattr(options, name) for name in type(options).model_fields}
    return {name: {"callable": repr(v)} if callable(v) else v for name, v in values.items()}


def check_changes(noted: dict[str, Any], changes: dict[str, Any]) -> None:
    """Check that options which are to change may do so in a run that has begun.

    Arguments:
        noted: The options that the run folder tells of.
        changes: Those to change.

    Raises:
        ArgumentError: One may not, since the run could not go on from where it is.
    """
    for name in sorted(_FIXED & changes.keys() & noted.keys()):
        if changes[name] != noted[name] and not is_function_note(noted[name]):
            raise invalid(name, changes[name], f"{noted[name]!r}, as the run began")


def is_function_note(value: Any) -> bool:
    """Return whether a value stands for a function, which no file can hold."""
    return isinstance(value, dict) and "callable" in value
