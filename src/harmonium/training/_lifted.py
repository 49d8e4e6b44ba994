"""Data as the layers of a network see them: drawn up through the layers below, batch by batch.

Nothing of a layer's activations is kept: each batch of rows is drawn up afresh, so that a layer sees other
states of the layer below in every epoch, and a data set of any size goes through.
"""

from __future__ import annotations

__all__ = ["LayerData", "hashes", "open_data"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from ..datasets import Dataset
from ..learning import Batch
from ..models import DBM, DBN, GAN, MLP, RBM, Model
from ..random import Stream
from ..units import Unit
from ._options import Options
from ._source import Opened, Source, fingerprint, fingerprints, open_source

_DRAWS = 1 << 16


@dataclass(frozen=True)
class LayerData:
    """The data of one RBM of a stack."""

    model: DBN | DBM
    """The network, which knows what its rows are."""
    stack: Sequence[RBM]
    """The RBMs from the lowest up, those above the layer's own not needed."""
    layer: int
    """The number of the RBM; 0 is the lowest."""
    data: Any
    """A :class:`harmonium.datasets.Dataset`, or rows of shape (rows, size), as the network sees them."""
    means: bool = False
    """Whether the layer below the RBM is shown by its means; else by states drawn afresh."""


class Lifted(Source):
    """Creates the source of an RBM's batches from that of the whole network's.

    Arguments:
        unit: The RBM's visible layer.
        below: The network's own source.
        view: Which layer is to be shown, and how.
        stream: Draws the states of the layers below.
    """

    def __init__(self, unit: Unit, below: Source, view: LayerData, stream: Stream) -> None:
        self.unit, self.below, self.view, self.stream = unit, below, view, stream
        self.rows, self.batch_size, self.gaps = below.rows, below.batch_size, False

    @property
    def steady(self) -> bool:
        return self.view.layer == 0 and self.below.steady

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        for number, batch in enumerate(self.below.batches(epoch, first), first):
            self.stream.step = (epoch * len(self) + number) * _DRAWS
            yield batch._replace(values=self.lift(batch.values, self.stream, means=self.view.means))

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number, (values, weights) in enumerate(self.below.blocks()):
            self.stream.step = number * _DRAWS
            yield self.lift(values, self.stream, means=self.view.means), weights

    def mean(self) -> Tensor:
        if self.view.layer == 0:
            return self.below.mean()[: self.unit.width]
        total = torch.zeros(self.unit.width, dtype=torch.float64)
        for number, (values, weights) in enumerate(self.below.blocks()):
            self.stream.step = number * _DRAWS
            total += weights.double().cpu() @ self.lift(values, self.stream, means=True).double().cpu()
        return self.unit.smoothed(total, len(self.rows))

    def fingerprint(self) -> str:
        """Return a hash of the rows, of how they are shown, and of the layers below."""
        digest = sha256(f"{self.below.fingerprint()} {self.view.layer} {self.view.means}".encode())
        for rbm in self.view.stack[: self.view.layer]:
            for parameter in (rbm.weight, rbm.hidden.bias):
                digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def lift(self, s: Tensor, stream: Stream, *, means: bool) -> Tensor:
        """Return the statistics of the layer that is to be shown, given the network's rows.

        Arguments:
            s: The network's visible statistics, shape (rows, width), the label's included.
            stream: Draws the states of the layers between.
            means: Whether the layer itself is shown by its means.
        """
        model, layer = self.view.model, self.view.layer
        x, label = model.split(s)
        x = x.contiguous()
        for number, rbm in enumerate(self.view.stack[:layer]):
            unit, field = rbm.hidden, rbm.field("hidden", rbm.observed(x))
            last = number == layer - 1
            x = unit.expected_statistics(field) if means and last else unit.sample_(field, stream)
        if label is None or layer < model.depth - 1:
            return x
        return torch.cat((x, label), 1)


def open_data(
    model: Model,
    data: Any,
    stream: Stream,
    options: Options,
    weights: Any = None,
    validation: Any = None,
    gaps: bool = False,
) -> Opened:
    """Return the source of data for a model, and probes to be scored; see :func:`open_source`.

    A data set comes with its labels where the model's rows end in one.

    Arguments:
        model: The model.
        data: A :class:`harmonium.datasets.Dataset`, rows of shape (rows, size), or a :class:`LayerData`.
        stream: Orders the rows and draws their bits.
        options: The run's settings.
        weights: The rows' weights, shape (rows).
        validation: Rows to score, in place of those that ``data`` brings.
        gaps: Whether values of rows may be missing (NaN).

    Raises:
        DataError: Rows or weights do not fit.
    """
    if not isinstance(data, LayerData):
        rows = _labelled(model, data)
        sizes = options.batch_size, options.probe
        return open_source(model.visible, rows, stream, *sizes, weights, validation, gaps)
    network = data.model
    opened = open_data(network, data.data, stream, options, weights, validation)
    source = Lifted(model.visible, opened.source, data, stream.child("layers"))
    lifted = []
    probes = (("train", opened.train), ("validation", opened.validation[: options.probe]))
    for name, probe in probes:
        s = network.visible.statistics(probe.to(network.device))
        draws = stream.child(f"{name} probe")
        lifted.append(source.lift(s, draws, means=data.means) if len(probe) else probe)
    train, held_out = lifted
    return Opened(source, train, held_out, opened.states if data.layer == 0 else not data.means)


def hashes(opened: Opened, data: Any) -> dict[str, Any]:
    """Return what a run folder tells of its data, so that others are noticed.

    Arguments:
        opened: The data as they were opened.
        data: The data as they were given; of an RBM in a network those of the whole network count.
    """
    held_out = opened.validation
    return {
        "fingerprint": opened.source.fingerprint(),
        "validation_fingerprint": fingerprint(held_out) if len(held_out) else None,
        "data_fingerprints": fingerprints(data.data if isinstance(data, LayerData) else data),
    }


def _labelled(model: Model, data: Any) -> Any:
    """Return a data set with its labels where the model is a network whose rows end in one."""
    labelled = isinstance(model, DBN | DBM | GAN | MLP) and model.classes is not None
    return data.with_labels() if labelled and isinstance(data, Dataset) else data
