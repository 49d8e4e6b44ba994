"""What an estimate of a partition function or a likelihood says of itself."""

from __future__ import annotations

__all__ = ["LogLikelihood", "LogPartition"]

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class LogPartition:
    """An estimate of log Z, in nats.

    ``lower`` and ``upper`` are the forward and the reverse annealed estimates: in expectation a lower
    and an upper bound, the upper one only as far as its chains are the model's.
    """

    value: float
    lower: float
    upper: float
    standard_error: float
    """Monte-Carlo error of ``value``."""
    method: str
    trusted: bool = True
    reason: str = ""
    """Why not to trust it; empty when ``trusted``."""
    effective_sample_size: float = float("inf")
    """Of the annealing runs' weights, the worse of the two directions."""
    lower_standard_error: float = 0.0
    upper_standard_error: float = 0.0
    diagnostics: dict[str, float] = field(default_factory=dict)
    """Of the chains that start the reverse runs: ``rhat``, ``autocorrelation_time``, ``chain_ess``."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class LogLikelihood:
    """The mean log-likelihood of rows of data, in nats per row.

    ``lower`` comes from the upper end of log Z and ``upper`` from its lower end.
    """

    mean: float
    lower: float
    upper: float
    standard_error: float
    """Monte-Carlo error of ``mean``: that of log Z, and of the samples of hidden layers if there are some."""
    data_standard_error: float
    """Standard error over rows: how far another test set's mean may lie."""
    rows: int
    method: str
    trusted: bool
    reason: str
    log_partition: LogPartition | None
    """The estimate that it rests on; of a conditional likelihood each row has its own."""
    binarisation: str | None = None
    """How grey data became states, where a data set tells; different ways do not compare."""
    bound: float | None = None
    """Of a deep model the variational lower bound, with the upper end of log Z."""
    bound_standard_error: float = 0.0
    """Monte-Carlo error of the bound, log Z apart."""
    importance_samples: int = 0
    """How many samples of the hidden layers each row's mean weight comes from; none where they sum out."""
    importance_ess: float = float("inf")
    """The mean effective number of those samples. Where it is small, the estimate is low."""
    importance_bias: float = 0.0
    """By how much the estimate is low, in nats per row, to first order; more where few samples count."""
    log_determinant: float | None = None
    """What is added to these numbers, of transformed rows, for those of rows in their own units; of a table
    the mean over rows of its schema's log-Jacobian. None where no transform is known, or there is no density
    in the table's units."""

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)
