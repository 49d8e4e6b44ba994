"""Training of a feed-forward network from the weights that it has: fine-tuning, or from scratch."""

from __future__ import annotations

__all__ = ["FINE", "finetune"]

from pathlib import Path
from typing import Any

from ..datasets import Dataset
from ..errors import ArgumentTypeError, DataError, show
from ..learning import CrossEntropy, Reconstruction, Rule
from ..models import MLP, Autoencoder, Model
from ..units import as_rows
from .fit import Callback, History, fit

FINE: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "averaging": 0.0}
"""The options of :func:`harmonium.fit` that differ by default."""


def finetune(
    model: Model,
    data: Any,
    rule: Rule | None = None,
    *,
    out: str | Path | None = None,
    weights: Any = None,
    validation: Any = None,
    callback: Callback | None = None,
    config: dict[str, Any] | None = None,
    **options: Any,
) -> History:
    """Train a network by back-propagation: a classifier of its cross-entropy, an autoencoder of its error.

    The network is left in evaluation mode. What the classifier of a deep Boltzmann machine sees beside its
    inputs is found once and kept, up to a gibibyte, where rows are shown alike in every epoch.

    Arguments:
        model: The network, such as :meth:`harmonium.DBN.to_mlp` returns.
        data: For a classifier a :class:`harmonium.datasets.Dataset` with labels, or rows that end in the code
            of the label, shape (rows, inputs + 1); for an autoencoder rows without labels. Grey values are
            best taken as they are, with binarisation ``none``.
        rule: The learning rule; by default :class:`harmonium.CrossEntropy` for a classifier, and
            :class:`harmonium.Reconstruction` for an autoencoder.
        out: A new folder for the run: configuration, log and checkpoints.
        weights: The rows' weights, shape (rows).
        validation: Rows to judge the network by, where ``data`` brings none.
        callback: Called with each epoch's record; the run ends when it returns True.
        config: What else to write into the folder's ``config.json``.
        options: See :class:`harmonium.training.Options`. Other than there ``lr`` is 0.1, ``momentum`` 0.9 and
            ``averaging`` 0 by default, and all validation rows are scored.

    Raises:
        ArgumentError: An option is unknown or out of range, or the rule does not fit the network.
        ArgumentTypeError: The model is no such network, or the rule is none.
        DataError: The data do not fit the network.
        FileError: ``out`` exists already or cannot be written.
        TrainingError: The gradient is no longer finite.
    """
    if not isinstance(model, MLP | Autoencoder):
        expected = "an hm.MLP or an hm.Autoencoder, such as dbn.to_mlp(10) returns"
        raise ArgumentTypeError(f"model: got {show(model)}, expected {expected}")
    if isinstance(model, MLP) and isinstance(data, Dataset):
        data = data.with_labels()
        if len(data.classes or ()) < model.classes:
            got = f"labels {', '.join(map(str, data.classes or ()))}"
            raise DataError(f"data: got {got}, expected {model.classes} classes as the network has")
    if rule is None:
        rule = CrossEntropy() if isinstance(model, MLP) else Reconstruction()
    held_out = validation if validation is not None or not isinstance(data, Dataset) else data.validation
    if held_out is not None:
        options.setdefault("probe", max(len(as_rows("validation", held_out)), 1000))
    settings = {**FINE, **options}
    return fit(
        model,
        data,
        rule,
        out=out,
        weights=weights,
        validation=validation,
        callback=callback,
        config=config,
        **settings,
    )
