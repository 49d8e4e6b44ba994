"""The training loop, its settings, and runs on disk."""

from ._diagnose import Finding, diagnose
from ._monitor import pseudo_likelihood
from ._options import SCHEDULES, Options
from .checkpoint import RunFolder
from .fit import History, fit, resume

__all__ = [
    "SCHEDULES",
    "Finding",
    "History",
    "Options",
    "RunFolder",
    "diagnose",
    "fit",
    "pseudo_likelihood",
    "resume",
]
