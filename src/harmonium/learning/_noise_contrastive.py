r"""Noise-contrastive estimation: log Z as one more parameter, learnt by telling data from noise.

For each row of data there are :math:`\nu` rows of noise from a known distribution :math:`p_n`. A row v is one
of data with the log-odds :math:`G(v) - \log \nu`, where

.. math:: G(v) = -F(v) - \log Z - \log p_n(v),

and the loss of a row of data v and of its noise u, in nats, is that of the logistic regression,

.. math:: L = -\log \sigma(G(v) - \log \nu) - \sum_{k=1}^{\nu} \log \sigma(\log \nu - G(u_k)).

With many rows its minimum is at the model that the data come from, log Z included, without any constraint.
The noise is that of independent units at the data's base rates, or of a model that was trained before, whose
log-density is :math:`-F_n(v) - \log Z_n`. The farther it is from the data, the easier the regression, and the
less there is to be learnt from it; more noise per row helps.

References:
    | Noise-contrastive estimation: a new estimation principle for unnormalized statistical models
    | (Gutmann & Hyvarinen, 2010)
    | Noise-contrastive estimation of unnormalized statistical models, with applications to natural image
    | statistics (Gutmann & Hyvarinen, 2012)
"""

from __future__ import annotations

__all__ = ["NoiseContrastive"]

import math
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PrivateAttr, field_validator
from torch import Tensor
from torch.nn.functional import softplus

from ..errors import DataError, invalid
from ..models import Model, PairwiseModel, State
from ..random import Stream
from ..units import Unit
from ._loss_rule import LossRule
from ._moment_rule import named, part
from ._noise import BaseRates, ModelNoise, Noise
from ._rule import Apply, Batch, Metrics, check_sums_out

_LOG_Z = "log_partition"
_NOISE = "noise."
_ROWS = 1000
_EXACT = 40.0


class NoiseContrastive(LossRule):
    """Creates noise-contrastive estimation, which learns log Z along with the model.

    The noise is drawn from independent units at the data's base rates; Gaussian ones have the precision that
    they start from. Or it is drawn from a saved model by a thousand Gibbs chains, which have to mix: they
    take turns, and a step before each row. That model's log Z is computed before the first update, exactly or
    by annealing, as :func:`log_partition` does it. A checkpoint holds its parameters, log Z and chains, and
    not its layers, for which the file is read again when a run goes on. The rule's metrics hold the loss, in
    nats per row, and the present log Z.

    Arguments:
        noise_ratio: Rows of noise for each row of data.
        noise: The file of the model that the noise comes from; by default the base rates.

    Raises:
        ArgumentError: An argument is out of range.
    """

    name: ClassVar[str] = "noise-contrastive"
    noise_ratio: Annotated[int, Field(ge=1, description="rows of noise for each row of data")] = 10
    noise: Annotated[
        Path | None, Field(description="file of the model that the noise comes from; else the base rates")
    ] = None
    _given: PairwiseModel | None = PrivateAttr(None)

    @field_validator("noise")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        """Make it a path that a run can go on with from another folder."""
        return None if value is None else value.expanduser().absolute()

    def check(self, model: Model) -> None:
        if not isinstance(model, PairwiseModel):
            raise invalid("rule", self.name, f"a rule that fits a {model.kind}")
        check_sums_out(self.name, model)
        if self.noise is not None:
            self._given = ModelNoise.read(self.noise, model)

    @torch.no_grad()
    def init(self, model: Model, stream: Stream) -> State:
        assert isinstance(model, PairwiseModel)
        noise: Noise = BaseRates.of(model)
        if self.noise is not None:
            noise = ModelNoise.of(self.noise, self._read(self.noise, model), stream)
        rows = noise.draw(_ROWS, 1, stream)
        log_ratio = model.log_sum({"visible": rows}) - noise.log_density(rows)
        log_z = log_ratio.logsumexp(0) - math.log(_ROWS)
        return {_LOG_Z: log_z, **named(_NOISE, noise.state())}

    def parameters(self, model: Model, state: State | None = None) -> dict[str, dict[str, Tensor]]:
        groups = super().parameters(model, state)
        return groups if state is None else {**groups, _LOG_Z: {_LOG_Z: state[_LOG_Z]}}

    def update(
        self, model: Model, batch: Batch, state: State, stream: Stream, apply: Apply
    ) -> tuple[State, Metrics]:
        log_z = state[_LOG_Z].requires_grad_()
        try:
            state, metrics = super().update(model, batch, dict(state), stream, apply)
        finally:
            log_z.requires_grad_(False)
        return state, {**metrics, _LOG_Z: log_z.clone()}

    def loss(self, model: Model, batch: Batch, state: State, stream: Stream) -> Tensor:
        assert isinstance(model, PairwiseModel)
        _require_states(self.name, model.visible, batch)
        noise = self._noise(model, part(state, _NOISE))
        rows, shares = self.contrast(noise, batch, stream)
        state |= named(_NOISE, noise.state())
        both = torch.cat((batch.values, rows))
        log_ratio = model.log_sum({"visible": both}) - state[_LOG_Z] - noise.log_density(both)
        odds = log_ratio - math.log(self.noise_ratio)
        of_data, of_noise = odds.split((len(batch.values), len(rows)))
        surprise = softplus(-of_data, threshold=_EXACT), softplus(of_noise, threshold=_EXACT)
        return batch.weights.double() @ surprise[0] + shares.double() @ surprise[1]

    def _noise(self, model: PairwiseModel, state: State) -> Noise:
        if self.noise is None:
            return BaseRates.from_state(model, state)
        return ModelNoise.from_state(self.noise, self._read(self.noise, model), state)

    def _read(self, path: Path, model: PairwiseModel) -> PairwiseModel:
        """Return the model of the file, which is read once."""
        self._given = self._given or ModelNoise.read(path, model)
        return self._given

    def contrast(self, noise: Noise, batch: Batch, stream: Stream) -> tuple[Tensor, Tensor]:
        """Return rows of noise, and their shares, which sum to ``noise_ratio`` times those of the data."""
        n = len(batch.values)
        rows = noise.draw(n, self.noise_ratio, stream)
        return rows, (batch.weights.sum() / n).expand(len(rows))


def _require_states(name: str, unit: Unit, batch: Batch) -> None:
    """Check that every value is a unit's state.

    Raises:
        DataError: With the row, the unit and the value of one that is not.
    """
    right = unit.accepts(batch.values, False)
    if not bool(right.all()):
        row, site = (~right).nonzero()[0].tolist()
        fault = unit.fault(batch.values[row], site, False)
        got = f"{fault.got} at row {int(batch.rows[row])}, {fault.place} {fault.number}"
        raise DataError(f"data: got {got}, expected states, since {name!r} compares their probabilities")
