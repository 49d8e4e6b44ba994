"""How good a model is: partition functions and likelihoods with errors."""

from ._ais import SCHEDULES
from ._log_likelihood import log_likelihood
from ._log_partition import ESTIMATORS, log_partition
from ._results import LogLikelihood, LogPartition

__all__ = [
    "ESTIMATORS",
    "SCHEDULES",
    "LogLikelihood",
    "LogPartition",
    "log_likelihood",
    "log_partition",
]
