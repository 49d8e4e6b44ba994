"""What is checked of a run before any work, beyond its options and its data."""

from __future__ import annotations

__all__ = [
    "check_callback",
    "check_complete",
    "check_config",
    "check_finite",
    "check_gaps",
    "check_hashes",
    "check_init",
    "check_is_rule",
    "check_likelihood",
    "check_missing",
    "check_output",
    "check_rows",
    "check_rule",
    "check_scale",
    "check_trainable",
    "image_shape",
    "watched_score",
]

import logging
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..datasets import Dataset
from ..errors import ArgumentError, ArgumentTypeError, DataError, FileError, choose, invalid, show
from ..learning import RULES, Rule
from ..models import GAN, GenerativeModel, Model, PairwiseModel
from ..units import Gaussian, Mixed, Unit, as_rows, first_gap
from ._events import require
from ._options import Options
from ._source import Source
from .checkpoint import RunFolder

_LOGGER = logging.getLogger("harmonium")
_CONSTANT = 1e-6
_OFF = 10.0


def check_callback(callback: object) -> None:
    """Check that a callback can be called, if there is one."""
    if callback is not None and not callable(callback):
        raise ArgumentTypeError(f"callback: got {show(callback)}, expected a function of the record")


def check_is_rule(rule: object) -> None:
    """Check that an argument is a learning rule, and offer the one that was meant."""
    if isinstance(rule, Rule):
        return
    kind = RULES.get(rule) if isinstance(rule, str) else rule
    meant = kind.__name__ if isinstance(kind, type) and issubclass(kind, Rule) else "PCD"
    raise ArgumentTypeError(f"rule: got {show(rule)}, expected a learning rule such as hm.{meant}()")


def check_rule(rule: Rule, model: Model) -> None:
    """Check that a rule trains models of this family, and this one."""
    if not isinstance(model, rule.fits):
        expected = f"a rule that fits a {model.kind}"
        if model.kind == "dbn":
            expected += ", or hm.pretrain, which trains it layer by layer"
        raise invalid("rule", rule.name, expected)
    if isinstance(model, PairwiseModel) and model.tied() and not rule.ties:
        able = ", ".join(repr(name) for name, kind in RULES.items() if kind.ties)
        raise invalid("rule", rule.name, f"one that trains a model with a layer that is there twice: {able}")
    rule.check(model)


def check_missing(rule: Rule, model: Model, data: Any) -> None:
    """Check that a rule integrates over the values that rows lack, if they lack some.

    Raises:
        ArgumentError: It does not.
    """
    rows = data.train if isinstance(data, Dataset) else data
    if rule.integrates or not isinstance(rows, Tensor | np.ndarray) or rows.ndim != 2:
        return
    gap = first_gap(as_rows("data", rows))
    if gap is not None:
        row, column = gap
        able = ", ".join(repr(name) for name, kind in RULES.items() if kind.integrates)
        expected = f"one that integrates over missing values ({able}): row {row} has none in column {column}"
        raise invalid("rule", rule.name, expected)


def check_complete(data: Any) -> None:
    """Check that no value of the rows is missing, where layers are trained one after the other.

    Raises:
        ArgumentError: One is; it is named.
    """
    rows = data.train if isinstance(data, Dataset) else data
    if not isinstance(rows, Tensor | np.ndarray) or rows.ndim != 2:
        return
    gap = first_gap(as_rows("data", rows))
    if gap is not None:
        row, column = gap
        schema = getattr(data, "schema", None)
        name = column if schema is None else repr(schema.blocks[column].name)
        raise ArgumentError(
            f"data: got missing values (row {row} has none in column {name}), over which layers that are "
            "trained one by one do not integrate; an rbm does, and harmonium impute (hm.tables.impute) fills "
            "them in by it"
        )


def check_gaps(rule: Rule, model: Model, source: Any, options: Options) -> None:
    """Check that the missing values of rows, if there are some, can be integrated over.

    Raises:
        ArgumentError: Not of this model, by this rule, or with these options.
    """
    if not getattr(source, "gaps", False):
        return
    if not isinstance(model, PairwiseModel):
        raise ArgumentError(f"data: got missing values, which no rule integrates over for a {model.kind}")
    if options.init != "base-rates":
        raise invalid("init", options.init, "'base-rates', as values of the data are missing")
    rule.check_gaps(model, source.patterns())


def check_output(options: Options, folder: RunFolder | None) -> None:
    """Check that what is to be written has a folder, and its package."""
    for name in ("samples_every", "tensorboard"):
        value = getattr(options, name)
        if value and folder is None:
            raise invalid(name, value, f"{type(value)()!r}, or a folder as out")
    if options.tensorboard:
        require()


def check_init(options: Options, model: Model) -> None:
    """Check that principal components have hidden units to go to, of a model that has not been trained."""
    if options.init == "base-rates":
        return
    if not isinstance(model, PairwiseModel):
        raise invalid("init", options.init, f"'base-rates', as a {model.kind} starts as it is")
    if not model.hidden_blocks():
        raise invalid("init", options.init, "'base-rates', as the model has no hidden units")
    if model.tied():
        raise invalid("init", options.init, "'base-rates', as the model has a layer that is there twice")
    if len(model.observed_blocks()) > 1:
        raise invalid("init", options.init, "'base-rates', as the model has its label as a layer of its own")
    if not bool(model.base_rates.isnan().any()):
        raise invalid("init", options.init, "'base-rates', as the model has been trained already")
    names = [coupling.name for coupling in model.couplings() if coupling.lower != coupling.upper]
    for name in [*names, *(f"{model.place(block)}.bias" for block in model.blocks())]:
        if not model.get_parameter(name).requires_grad:
            raise invalid("init", options.init, f"'base-rates', as {name} is frozen")


def check_finite(model: Model) -> None:
    """Check that all parameters are finite before the first update, and in single or double precision."""
    if model.dtype not in (torch.float32, torch.float64):
        raise ArgumentError(f"model: got parameters of {model.dtype}, expected float32 or float64")
    for name, parameter in model.named_parameters():
        if not bool(parameter.isfinite().all()):
            raise ArgumentError(f"model: got {name} with values that are not finite")


def check_trainable(groups: dict[str, dict[str, Tensor]]) -> None:
    """Check that there is something to train, among parameters by group and name."""
    if not any(groups.values()):
        raise ArgumentError("model: got only frozen parameters, expected one whose requires_grad is True")


def check_rows(model: Model, data: Any, source: Source) -> None:
    """Check that the rows of a game are images as its networks see them, and batches what BatchNorm1d takes.

    Raises:
        ArgumentError: A batch is a single row.
        DataError: They are others.
    """
    if not isinstance(model, GAN):
        return
    shape = tuple(data.shape) if isinstance(data, Dataset) else ()
    if len(shape) > 1 and len(model.shape) > 1 and _sides(shape) != _sides(model.shape):
        hint = "; channels come first" if (shape[-1], *shape[:-1]) == model.shape else ""
        raise DataError(f"data: got rows of shape {shape}, expected {model.shape}, that of the model{hint}")
    rows, size = len(source.rows), source.batch_size
    if (rows - 1) % size == 0 and any(isinstance(layer, nn.BatchNorm1d) for layer in model.modules()):
        expected = (
            f"one that leaves more than one of {rows:,} rows for the last batch, as BatchNorm1d asks for"
        )
        raise invalid("batch_size", size, expected)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without what makes no difference to the order of values."""
    return tuple(n for n in shape if n > 1)


def check_scale(model: Model, source: Source) -> None:
    """Say so where a column varies ten times more, or less, than a Gaussian unit whose precision is fixed."""
    unit = model.visible
    parts = unit.parts if isinstance(unit, Mixed) else [unit]
    width = torch.cat([_fixed_width(part) for part in parts])
    if bool(width.isnan().all()):
        return
    spread, mean = source.spread()
    ratio = (spread / width).masked_fill(spread <= _CONSTANT * mean.abs(), torch.nan)
    off = ratio.log().abs().nan_to_num(0)
    worst = int(off.argmax())
    if float(off[worst]) <= math.log(_OFF):
        return
    column = int(unit.expand(torch.arange(unit.size))[worst])
    count, of = int((off > math.log(_OFF)).sum()), int((~width.isnan()).sum())
    _LOGGER.warning(
        "data: column %d has a standard deviation of %.3g, %.3g times that of its Gaussian unit, whose "
        "precision is fixed at %.3g (%d of %d such columns are off by more than %g times); standardise "
        "them%s",
        column,
        spread[worst],
        ratio[worst],
        width[worst] ** -2,
        count,
        of,
        _OFF,
        "" if isinstance(model, GAN) else ", or let the units learn their precisions (learn_precision)",
    )


def _fixed_width(part: Unit) -> Tensor:
    """Return the standard deviations of units whose precisions are fixed, float64; NaN for all others."""
    if isinstance(part, Gaussian) and not part.log_precision.requires_grad:
        return part.precision.detach().double().cpu().rsqrt()
    return torch.full((part.width,), torch.nan, dtype=torch.float64)


def check_likelihood(options: Options, model: Model) -> None:
    """Check that there is a likelihood, if it is to be estimated on the way.

    Raises:
        ArgumentError: The model tells none.
    """
    if options.likelihood_every and (not isinstance(model, GenerativeModel) or model.implicit):
        raise invalid("likelihood_every", options.likelihood_every, f"0, as a {model.kind} has none")


_HASHES = {
    "fingerprint": "data, their weights or their binarisation",
    "validation_fingerprint": "validation rows",
}


def check_hashes(folder: RunFolder, own: dict[str, Any]) -> None:
    """Check that a run goes on with the rows that it began with; old folders tell less of them.

    Raises:
        FileError: The rows are others.
    """
    noted = {**own, **folder.config()}
    for name, what in _HASHES.items():
        if noted[name] != own[name]:
            raise FileError(
                f"{folder.path}: the {what} are not those that the run began with; "
                "load them as then, by the same arguments and the same seed"
            )


def check_config(config: dict[str, Any], own: dict[str, Any]) -> None:
    """Check that the user's part of a configuration does not hide the run's own."""
    for name in config:
        if name in own:
            raise invalid("config", name, f"keys other than {', '.join(own)}")


def watched_score(options: Options, names: list[str]) -> str:
    """Return the name of the score that patience watches; empty without patience."""
    if options.patience is None:
        return ""
    if options.score is not None:
        choose("score", options.score, names)
        return options.score
    kinds = ("log_likelihood", "pseudo_likelihood", "accuracy", "negative_loss", "bound")
    found = next((name for name in (f"validation/{kind}" for kind in kinds) if name in names), None)
    if found is None:
        raise invalid("patience", options.patience, f"a score= to watch: one of {', '.join(names)}")
    return found


def image_shape(data: Any, model: Model) -> tuple[int, ...] | None:
    """Return the shape of a row, label apart, if it is an image: (height, width), or (3, height, width)."""
    if isinstance(model, GAN) and len(model.shape) > 1:
        whole, columns = model.shape, model.columns
    elif isinstance(data, Dataset) and isinstance(model, GenerativeModel):
        whole, columns = data.shape, data.columns
    else:
        return None
    shape = tuple(n for n in whole if n > 1)
    image = len(shape) == 2 or (len(shape) == 3 and shape[0] == 3)
    return shape if image and math.prod(shape) == columns else None
