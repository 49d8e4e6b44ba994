"""The training loop, its settings, and runs on disk."""

from ._diagnose import Finding, diagnose
from ._monitor import pseudo_likelihood
from ._options import SCHEDULES, Options
from ._source import changed_splits
from .checkpoint import RunFolder
from .fit import History, fit, resume

__all__ = [
    "SCHEDULES",
    "Finding",
    "History",
    "Options",
    "RunFolder",
    "changed_splits",
    "diagnose",
    "fit",
    "pseudo_likelihood",
    "resume",
]
