r"""The label of a row given its other visible units: classification without a sample.

A label is the last part of a mixed visible layer: one categorical unit. With the hidden units summed out,

.. math:: \log p(y \mid v) = b_y + \sum_j A_j(a_j + W_{yj}) + \text{const}, \qquad a = c + W^\top s(v),

where :math:`A_j` is the log-partition function of hidden unit j, b the label's bias and :math:`W_y` its row
of the couplings. All classes share the fields a, which cost one product; each class costs one pass over the
hidden units. In a deep belief network the v of its top RBM is the layer beside the label, given as the means
that the recognition network leads up to.

References:
    | A fast learning algorithm for deep belief nets (Hinton, Osindero & Teh, 2006)
    | Classification using discriminative restricted Boltzmann machines (Larochelle & Bengio, 2008)
    | Learning algorithms for the classification restricted Boltzmann machine
    | (Larochelle, Mandel, Pascanu & Bengio, 2012)
"""

from __future__ import annotations

__all__ = ["Classified", "classify", "error_rate", "has_label", "label_columns", "predict", "predict_proba"]

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, pad, softmax

from ..errors import ArgumentError, DataError, choose, invalid
from ..units import Categorical, Mixed, Unit, as_rows
from ._base import Coupling, Model, check_model
from ._dbm import DBM
from ._dbn import DBN
from ._mean_field import inferred_fields, mean_field
from ._mlp import MLP
from ._pairwise import PairwiseModel

_BLOCK = 1 << 22
_NETWORK_ROWS = 4096
_SWEEPS = 20

INFERENCES = ("mean-field", "multi-inference")
"""How a deep Boltzmann machine infers what is not given."""


Moments: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Sums weights of shape (rows, classes) times the expected hidden statistics given each row and class.

Returns the sums over classes, shape (rows, hidden width), and those over rows, (classes, hidden width).
"""


class Classified(NamedTuple):
    """What there is to know of rows in all classes."""

    log_p: Tensor
    """The log-probabilities of the classes, shape (rows, classes), float64."""
    moments: list[tuple[Coupling, Moments]]
    """The expected hidden statistics, by the coupling of the visible layer with the hidden one."""


def has_label(model: Model) -> bool:
    """Return whether a model can classify: see :func:`predict_proba`."""
    return _classes(model) is not None or _fault(model) is None


def _classes(model: Model) -> int | None:
    """Return the number of classes of a model whose label does not follow from free energies; else None."""
    if isinstance(model, MLP | DBN):
        return model.classes
    return _label(model).width if _inferred(model) else None


def _inferred(model: Model) -> TypeGuard[DBM]:
    """Return whether a model is a machine whose label is inferred: above the last layer, or in a deep one."""
    if not isinstance(model, DBM):
        return False
    return model.label is not None or (not model.hidden_sums_out() and _beside(model.visible) is not None)


def _label(model: DBM) -> Unit:
    """Return the label of a machine that has one."""
    label = _beside(model.visible) if model.label is None else model.label
    assert label is not None
    return label


def _beside(unit: Unit) -> Unit | None:
    """Return the label that a visible layer ends in, if it does."""
    label = unit.parts[-1] if isinstance(unit, Mixed) else None
    return label if isinstance(label, Categorical) and label.size == 1 else None


def label_columns(model: Model) -> slice:
    """Return where the label is among the columns of the visible statistics.

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out.
    """
    fault = _fault(model)
    if fault is not None:
        raise fault
    assert isinstance(model.visible, Mixed)
    return slice(model.visible.width - model.visible.parts[-1].width, model.visible.width)


@torch.no_grad()
def classify(model: PairwiseModel, s: Tensor) -> Classified:
    """Return the probabilities of all classes, and the moments that their gradients are made of.

    Arguments:
        model: A model with a label.
        s: Visible statistics with zeros in place of the label, shape (rows, width).
    """
    columns = label_columns(model)
    moments: list[tuple[Coupling, Moments]] = []
    total = model.visible.bias[columns].double()
    for coupling in model.couplings():
        unit, shared = model.layer(coupling.upper), model.field(coupling.upper, {"visible": s})
        own = model.matrix(coupling)[columns]
        total = total + torch.stack([unit.log_partition(shared + row) for row in own], 1)
        moments.append((coupling, partial(_moments, unit, shared, own)))
    return Classified(log_softmax(total, 1), moments)


@torch.no_grad()
def predict_proba(
    model: Model, rows: Any, *, inference: str = "mean-field", sweeps: int | None = None
) -> Tensor:
    """Return the probabilities of the label's classes given rows, shape (rows, classes), float64.

    They are exact, but for those of a deep belief network, which are its top RBM's given the means that lead
    up to it, and those of a deep Boltzmann machine, which are what mean field says of its label. Rows for a
    machine of the latter kind may lack values, as NaN, which are inferred with the label.

    Arguments:
        model: A model whose visible layer is ``hm.Mixed(..., hm.Categorical(1, classes))``, and whose hidden
            units are independent given it; a :class:`harmonium.DBM` with such a layer, or with classes; a
            :class:`harmonium.DBN` with classes; or a classifier, an :class:`harmonium.MLP`.
        rows: Values of the visible units, or their means, without the label, shape (rows, size - 1); or with
            a last column for the label, which is not looked at; or statistics, shape (rows, width).
        inference: Of a deep Boltzmann machine: ``mean-field``, or ``multi-inference``, which suits one that
            was trained by multi-prediction.
        sweeps: How many of either, from the means of the biases on: the number that multi-prediction learned
            with, say. By default mean field settles, and rows that lack values, a label beside the visible
            units of a deep machine, and multi-inference take 20.

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out; or an option is unknown, or
            comes with another model.
        ArgumentTypeError: The model is none, or the rows are no numbers.
        DataError: A value does not fit the visible units.
    """
    check_model(model, Model)
    _check_inference(model, inference, sweeps)
    if isinstance(model, MLP):
        return _of_network(model, rows)
    if _inferred(model):
        return _of_machine(model, rows, inference == "multi-inference", sweeps)
    if isinstance(model, DBN) and model.classes is not None:
        return _of_belief_network(model, model.classes, rows)
    columns = label_columns(model)
    unit = model.visible
    assert isinstance(model, PairwiseModel)
    x = as_rows("rows", rows)
    if x.ndim != 2 or x.shape[1] not in (unit.size - 1, unit.size, unit.width):
        expected = f"(rows, {unit.size - 1}) or, with labels, (rows, {unit.size})"
        raise DataError(f"rows: got shape {tuple(x.shape)}, expected {expected}")
    if x.shape[1] != unit.width:
        x = pad(x[:, : unit.size - 1], (0, 1))
    unit.validate(x, means=True, name="rows")
    widest = max(model.layer(block).width for block in model.blocks())
    parts = []
    for block in x.split(max(1, _BLOCK // widest)):
        s = unit.statistics(block.to(model.device)).clone()
        s[:, columns] = 0
        parts.append(classify(model, s).log_p.exp())
    return torch.cat(parts)


def predict(model: Model, rows: Any, *, inference: str = "mean-field", sweeps: int | None = None) -> Tensor:
    """Return the code of the most probable class of each row, int64, shape (rows).

    Arguments:
        model: As for :func:`predict_proba`.
        rows: Likewise.
        inference: Likewise.
        sweeps: Likewise.

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out; or an option is unknown, or
            comes with another model.
        ArgumentTypeError: The model is none, or the rows are no numbers.
        DataError: A value does not fit the visible units.
    """
    return predict_proba(model, rows, inference=inference, sweeps=sweeps).argmax(1)


def error_rate(model: Model, rows: Any, *, inference: str = "mean-field", sweeps: int | None = None) -> float:
    """Return the share of rows whose label is not their most probable class.

    Arguments:
        model: As for :func:`predict_proba`.
        rows: Values whose last column is the code of the label, shape (rows, size); or statistics.
        inference: As for :func:`predict_proba`.
        sweeps: Likewise.

    Raises:
        ArgumentError: The model has no label, or has units that do not sum out; or an option is unknown, or
            comes with another model.
        ArgumentTypeError: The model is none, or the rows are no numbers.
        DataError: A value does not fit the visible units, the label's included.
    """
    check_model(model, Model)
    unit = model.visible
    classes = _classes(model)
    ends = label_columns(model).start if classes is None else unit.width - classes
    labelled = as_rows("rows", rows)
    unit.validate(labelled, means=True, name="rows")
    codes = labelled[:, -1].long() if labelled.shape[1] == unit.size else labelled[:, ends:].argmax(1)
    found = predict(model, labelled, inference=inference, sweeps=sweeps)
    return float((found.cpu() != codes.cpu()).double().mean())


def _check_inference(model: Model, inference: str, sweeps: int | None) -> None:
    choose("inference", inference, INFERENCES)
    if sweeps is not None and (isinstance(sweeps, bool) or not isinstance(sweeps, int) or sweeps < 1):
        raise invalid("sweeps", sweeps, "a positive number, or None")
    if not _inferred(model) and (inference != INFERENCES[0] or sweeps is not None):
        name, value = ("inference", inference) if sweeps is None else ("sweeps", sweeps)
        expected = f"no such argument, as the classes of this {model.kind} need no inference"
        raise invalid(name, value, expected)


def _of_machine(model: DBM, rows: Any, multi: bool, sweeps: int | None) -> Tensor:
    """Return what a deep Boltzmann machine infers of the label of rows; see :func:`predict_proba`.

    Sweeps go over the layers in the order in which multi-prediction goes where the label is the part of a row
    that is missing: after few of them another order says something else.
    """
    x, unit, classes = as_rows("rows", rows), model.visible, _label(model).width
    sizes = (unit.size - 1, unit.size, unit.width - classes, unit.width)
    if x.ndim != 2 or x.shape[1] not in sizes:
        expected = f"(rows, {unit.size - 1}) or, with labels, (rows, {unit.size})"
        raise DataError(f"rows: got shape {tuple(x.shape)}, expected {expected}")
    x = x[:, : unit.size - 1 if x.shape[1] <= unit.size else unit.width - classes]
    below, beside = model.layers[0], model.label is None
    if beside:
        missing = 1 if x.shape[1] == unit.size - 1 else classes
        x = pad(x, (0, missing), value=1 / missing if missing > 1 else 0)
    below.validate(x, means=True, name="rows", gaps=True)
    settle = not multi and sweeps is None and not beside and below.known(x) is None
    widest = max(model.layer(block).width for block in model.blocks())
    parts = []
    for block in x.split(max(1, _BLOCK // widest)):
        s, known = below.known_statistics(block.to(model.device))
        if settle:
            parts.append(mean_field(model, {"visible": s}).means["label"])
            continue
        there = torch.ones_like(s, dtype=torch.bool) if known is None else known
        data, given = {"visible": s}, {"visible": there}
        if beside:
            there[:, -classes:] = False
        else:
            data["label"] = s.new_zeros(len(s), classes)
            given["label"] = torch.zeros_like(data["label"], dtype=torch.bool)
        fields = inferred_fields(model, data, given, sweeps or _SWEEPS, multi=multi)
        field = fields["visible"][:, -classes:] if beside else fields["label"]
        parts.append(_label(model).expected_statistics(field))
    return torch.cat(parts).double()


def _of_belief_network(model: DBN, classes: int, rows: Any) -> Tensor:
    """Return what the top RBM says of the label of rows; see :func:`predict_proba`."""
    x, _ = model.given(rows, "rows")
    widest = max(layer.width for layer in model.layers)
    parts = []
    for block in x.split(max(1, _BLOCK // widest)):
        below = model.ascend(block, model.depth - 1)
        parts.append(classify(model.top, pad(below, (0, classes))).log_p.exp())
    return torch.cat(parts)


def _of_network(model: MLP, rows: Any) -> Tensor:
    """Return what a classifier's network makes of rows; see :func:`predict_proba`."""
    x, training = model.given(rows, "rows"), model.training
    blocks = (model.split(block)[0] for block in x.split(_NETWORK_ROWS))
    try:
        model.eval()
        return torch.cat([softmax(model(s).double(), 1) for s in blocks])
    finally:
        model.train(training)


def _fault(model: Model) -> ArgumentError | None:
    """Return why a model cannot classify, if it cannot."""
    if isinstance(model, DBN):
        return ArgumentError("model: got a dbn without a label, expected one with: hm.DBN(..., classes=10)")
    if not isinstance(model, PairwiseModel):
        return ArgumentError(f"model: got a {model.kind}, expected a model whose hidden units sum out")
    if isinstance(model, DBM) and not model.hidden_sums_out() and _beside(model.visible) is None:
        return ArgumentError("model: got a dbm without a label, expected one with: hm.DBM(..., classes=10)")
    unit = model.visible
    label = unit.parts[-1] if isinstance(unit, Mixed) else None
    if not (isinstance(label, Categorical) and label.size == 1):
        expected = "visible units that end in a label: hm.Mixed(..., hm.Categorical(1, classes))"
        return invalid("model", unit, expected)
    if len(model.blocks()) == 1:
        return ArgumentError("model: got no hidden units, expected some beside a label")
    if model.tied() and len(model.observed_blocks()) > 1:
        return ArgumentError(
            "model: got a visible layer that is there twice, expected one that is there once"
        )
    if len(model.observed_blocks()) > 1:
        expected = "one beside the visible units: hm.Mixed(..., hm.Categorical(1, classes))"
        return ArgumentError(f"model: got a label that is a layer of its own, expected {expected}")
    if model.lateral("visible") is not None or not model.hidden_sums_out():
        return ArgumentError("model: got units coupled within a layer, expected hidden units that sum out")
    return None


def _moments(unit: Unit, shared: Tensor, own: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """See :data:`Moments`.

    Arguments:
        unit: The hidden layer.
        shared: Its fields without a label, shape (rows, width).
        own: What each class adds to them, shape (classes, width).
        weights: Shape (rows, classes).
    """
    over_classes, over_rows = torch.zeros_like(shared), torch.empty_like(own)
    for k, row in enumerate(own):
        mean = unit.expected_statistics(shared + row)
        over_classes.addcmul_(weights[:, k, None], mean)
        over_rows[k] = weights[:, k] @ mean
    return over_classes, over_rows
