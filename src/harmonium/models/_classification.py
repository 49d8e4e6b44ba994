r"""The label of a row given its other visible units: classification without a sample.

A label is the last part of a mixed visible layer: one categorical unit. With the hidden units summed out,

.. math:: \log p(y \mid v) = b_y + \sum_j A_j(a_j + W_{yj}) + \text{const}, \qquad a = c + W^\top s(v),

where :math:`A_j` is the log-partition function of hidden unit j, b the label's bias and :math:`W_y` its row of
the couplings. The fields a are those of all classes, so that they cost one product, and each class one pass
over the hidden units.

References:
    | Classification using discriminative restricted Boltzmann machines (Larochelle & Bengio, 2008)
    | Learning algorithms for the classification restricted Boltzmann machine
    | (Larochelle, Mandel, Pascanu & Bengio, 2012)
"""

from __future__ import annotations

__all__ = [
    "ClassFields",
    "class_fields",
    "error_rate",
    "has_label",
    "label_columns",
    "log_class_probabilities",
    "predict",
    "predict_proba",
]

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, pad

from .. import kernels
from ..errors import ArgumentError, DataError, invalid
from ..units import Bernoulli, Categorical, Mixed, Spin, Unit
from ._base import Coupling
from ._pairwise import PairwiseModel

_BLOCK = 1 << 22


class ClassFields(NamedTuple):
    """The fields of a hidden block in all classes."""

    coupling: Coupling
    """That of the visible layer with the block."""
    shared: Tensor
    """The fields without a label, shape (rows, hidden width)."""
    own: Tensor
    """What each class adds to them, shape (classes, hidden width)."""


def has_label(model: PairwiseModel) -> bool:
    """Return whether a model can classify: see :func:`predict_proba`."""
    return _fault(model) is None


def label_columns(model: PairwiseModel) -> slice:
    """Return where the label is among the columns of the visible statistics.

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out.
    """
    fault = _fault(model)
    if fault is not None:
        raise fault
    assert isinstance(model.visible, Mixed)
    return slice(model.visible.width - model.visible.parts[-1].width, model.visible.width)


def class_fields(model: PairwiseModel, s: Tensor) -> list[ClassFields]:
    """Return the fields of the hidden blocks in all classes.

    Arguments:
        model: A model with a label.
        s: Visible statistics with zeros in place of the label, shape (rows, width).
    """
    columns = label_columns(model)
    return [
        ClassFields(c, model.field(c.upper, {"visible": s}), model.matrix(c)[columns])
        for c in model.couplings()
    ]


@torch.no_grad()
def log_class_probabilities(model: PairwiseModel, fields: list[ClassFields]) -> Tensor:
    """Return the log-probabilities of all classes, shape (rows, classes), float64."""
    total = model.visible.bias[label_columns(model)].double()
    for coupling, shared, own in fields:
        total = total + _sums(model.layer(coupling.upper), shared, own)
    return log_softmax(total, 1)


@torch.no_grad()
def predict_proba(model: PairwiseModel, rows: Any) -> Tensor:
    """Return the exact probabilities of the label's classes given rows, shape (rows, classes), float64.

    Arguments:
        model: A model whose visible layer is ``hm.Mixed(..., hm.Categorical(1, classes))``, and whose hidden
            units are independent given it.
        rows: Values of the visible units, or their means, without the label, shape (rows, size - 1); or with
            a last column for the label, which is not looked at.

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out.
        DataError: A value does not fit the visible units.
    """
    columns = label_columns(model)
    x = torch.as_tensor(rows)
    if x.ndim != 2 or x.shape[1] not in (model.visible.size - 1, model.visible.size):
        expected = f"(rows, {model.visible.size - 1}) or, with labels, (rows, {model.visible.size})"
        raise DataError(f"data: got shape {tuple(x.shape)}, expected {expected}")
    x = pad(x[:, : model.visible.size - 1], (0, 1))
    model.visible.validate(x, means=True)
    widest = max(model.layer(block).width for block in model.blocks())
    parts = []
    for block in x.split(max(1, _BLOCK // widest)):
        s = model.visible.statistics(block.to(model.device)).clone()
        s[:, columns] = 0
        parts.append(log_class_probabilities(model, class_fields(model, s)).exp())
    return torch.cat(parts)


def predict(model: PairwiseModel, rows: Any) -> Tensor:
    """Return the code of the most probable class of each row, int64, shape (rows).

    Arguments:
        model: As for :func:`predict_proba`.
        rows: Likewise.

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out.
        DataError: A value does not fit the visible units.
    """
    return predict_proba(model, rows).argmax(1)


def error_rate(model: PairwiseModel, rows: Any) -> float:
    """Return the share of rows whose label is not their most probable class.

    Arguments:
        model: As for :func:`predict_proba`.
        rows: Values whose last column is the code of the label, shape (rows, size).

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out.
        DataError: A value does not fit the visible units, the label's included.
    """
    label_columns(model)
    labelled = torch.as_tensor(rows)
    model.visible.validate(labelled, means=True)
    wrong = predict(model, labelled).cpu() != labelled[:, -1].long().cpu()
    return float(wrong.double().mean())


def _fault(model: PairwiseModel) -> ArgumentError | None:
    """Return why a model cannot classify, if it cannot."""
    unit = model.visible
    label = unit.parts[-1] if isinstance(unit, Mixed) else None
    if not (isinstance(label, Categorical) and label.size == 1):
        expected = "visible units that end in a label: hm.Mixed(..., hm.Categorical(1, classes))"
        return invalid("model", unit, expected)
    if len(model.blocks()) == 1:
        return ArgumentError("model: got no hidden units, expected some beside a label")
    if model.lateral("visible") is not None or not model.hidden_sums_out():
        return ArgumentError("model: got units coupled within a layer, expected hidden units that sum out")
    return None


def _sums(unit: Unit, shared: Tensor, own: Tensor) -> Tensor:
    """Return what a hidden block sums to in each class, up to a term of the row, shape (rows, classes)."""
    if isinstance(unit, Bernoulli | Spin):
        up = torch.ones(len(shared), len(own), dtype=torch.bool, device=shared.device)
        return kernels.flips(shared, own, up, 1.0, isinstance(unit, Spin))
    return torch.stack([unit.log_partition(shared + row) for row in own], 1)
