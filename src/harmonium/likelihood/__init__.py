"""How good a model is: partition functions and likelihoods with errors."""

from ._ais import SCHEDULES
from ._conditional import conditional_log_likelihood
from ._gaps import known_log_sums
from ._log_likelihood import log_likelihood
from ._log_partition import ESTIMATORS, log_partition
from ._results import LogLikelihood, LogPartition

__all__ = [
    "ESTIMATORS",
    "SCHEDULES",
    "LogLikelihood",
    "LogPartition",
    "conditional_log_likelihood",
    "known_log_sums",
    "log_likelihood",
    "log_partition",
]
