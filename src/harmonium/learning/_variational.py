r"""Variational stochastic maximum likelihood: mean field for the data, persistent chains for the model.

Where the posterior of the hidden units is no product, as in a deep Boltzmann machine, the bound

.. math:: \log p(v) \ge E_q[-E(v, h)] + H(q) - \log Z

takes the likelihood's place. Mean field finds q; with it held, the bound's gradient is a difference of
moments, under data and q less those under the model. The model's side comes from chains, and must not be
approximated in the same way: there the bound would turn round.

A layer far from the data can collapse at a high rate: its units, which are much alike at first, end up always
on or always off, and learn no more; the likely cause is that the common part of the couplings between hidden
layers feeds itself. With ``hidden_pace`` such couplings learn at a share of the rate, weight decay included,
and the first layer as quickly as before.

References:
    | Deep Boltzmann machines (Salakhutdinov & Hinton, 2009)
    | Deep Boltzmann machines and the centering trick (Montavon & Mueller, 2012)
"""

from __future__ import annotations

__all__ = ["VariationalPCD"]

import logging
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..errors import TrainingError
from ..models import Model, PairwiseModel, State, mean_field
from ..random import Stream
from ._contrastive import PCD
from ._moment_rule import named, part
from ._rule import Apply, Batch, Metrics

_LOGGER = logging.getLogger("harmonium")

_SETTLED = "settled."
"""Before the names of what mean field tells of itself, in the data's states."""


class VariationalPCD(PCD):
    """Creates variational stochastic maximum likelihood, for hidden units that data leave dependent.

    Its metrics are the ``sweeps`` of mean field and its ``residual``, by how much a mean moved at most in the
    last one; and in how many updates it was ``unsettled``.

    Arguments:
        steps: Gibbs steps in each update.
        chains: The number of persistent chains, whatever the batch size.
        burn_in: Gibbs steps that the chains take before the first update; most machines are pretrained.
        data_steps: The most sweeps of mean field.
        tolerance: Mean field ends where no mean moved by more in a sweep.
        damping: The share of its old field that a layer keeps in a sweep.
        hidden_pace: The share of the rate at which couplings among hidden units learn; of no effect where
            there are none.
        unsettled: What to do where mean field moves by more than ``most_residual`` after all sweeps:
            ``go-on``, ``warn`` once, or ``stop`` the training.
        most_residual: See there.
        centred: Whether to centre the gradient; by default where all units are binary.
        offset_rate: How fast the centring offsets follow the means.
        data_phase: ``mean-field``, or ``gibbs`` for samples of the true posterior in its place.
        gaps: Of no effect: rows are to have all values.
        gap_steps: Of no effect.
        sparsity_target: The mean activity that hidden units are pulled to, if they are.
        sparsity_cost: How strongly they are pulled.
        sparsity_rate: How fast the running means of their activity follow those of the batches.
        dropout: Not for units that depend on each other.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "variational-pcd"
    integrates: ClassVar[bool] = False
    steps: Annotated[int, Field(ge=1, description="Gibbs steps in each update")] = 5
    burn_in: Annotated[int, Field(ge=0, description="Gibbs steps of the chains before the first update")] = (
        100
    )
    data_steps: Annotated[
        int, Field(ge=1, description="sweeps of the data phase: the most of mean field, or of Gibbs")
    ] = 10
    tolerance: Annotated[float, Field(gt=0, description="mean field ends where no mean moves by more")] = 1e-3
    damping: Annotated[
        float, Field(ge=0, lt=1, description="share of its old field that a layer keeps in a sweep")
    ] = 0.0
    hidden_pace: Annotated[
        float, Field(gt=0, le=1, description="share of the rate at which couplings among hidden units learn")
    ] = 1.0
    most_residual: Annotated[
        float, Field(gt=0, description="what a mean may move by in the last sweep before it is unsettled")
    ] = 0.1
    unsettled: Annotated[
        Literal["go-on", "warn", "stop"], Field(description="what to do where mean field has not settled")
    ] = "warn"

    def positive(self, model: PairwiseModel, values: Tensor, stream: Stream) -> tuple[State, State]:
        if self.data_phase == "gibbs" or model.hidden_sums_out():
            return super().positive(model, values, stream)
        data = model.observed(values)
        q = mean_field(model, data, steps=self.data_steps, tolerance=self.tolerance, damping=self.damping)
        told = {"sweeps": torch.tensor(float(q.sweeps)), "residual": torch.tensor(q.residual)}
        return {**data, **q.means, **named(_SETTLED, told)}, {}

    def negative(
        self, model: PairwiseModel, data: State, fields: State, state: State, stream: Stream
    ) -> tuple[State, State]:
        sample, kept = super().negative(model, data, fields, state, stream)
        told = part(data, _SETTLED)
        if told:
            before = state.get(_SETTLED + "unsettled", torch.zeros(()))
            told["unsettled"] = before + self._judge(float(told["residual"]), bool(before > 0))
        return sample, {**kept, **named(_SETTLED, told)}

    def rates(self, model: Model) -> dict[str, float]:
        assert isinstance(model, PairwiseModel)
        if self.hidden_pace == 1:
            return {}
        hidden = set(model.hidden_blocks())
        return {c.name: self.hidden_pace for c in model.couplings() if hidden.issuperset(c[:2])}

    @torch.no_grad()
    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        state, metrics = super().update(model, batch, state, stream, apply)
        return state, {**metrics, **part(state, _SETTLED)}

    def _judge(self, residual: float, known: bool) -> int:
        """Return 1 if mean field has not settled, else 0; say so the first time, or end the training."""
        if residual <= self.most_residual:
            return 0
        text = (
            f"mean field still moved by {residual:.2g} after {self.data_steps} sweeps; raise data_steps, or "
            "set a damping such as 0.5"
        )
        if self.unsettled == "stop":
            raise TrainingError(text)
        if self.unsettled == "warn" and not known:
            _LOGGER.warning("%s", text)
        return 1
