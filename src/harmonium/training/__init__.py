"""The training loop, its settings, and runs on disk."""

from ._adversarial_monitor import spread
from ._diagnose import Finding, diagnose
from ._gap_learner import GapLearner
from ._monitor import pseudo_likelihood
from ._online import Course, advance
from ._options import MOVING, OF_RULE, SCHEDULES, Options
from ._source import changed_splits
from .checkpoint import RunFolder
from .finetune import finetune
from .fit import History, fit
from .pretrain import pretrain
from .resume import resume

__all__ = [
    "MOVING",
    "OF_RULE",
    "SCHEDULES",
    "Course",
    "Finding",
    "GapLearner",
    "History",
    "Options",
    "RunFolder",
    "advance",
    "changed_splits",
    "diagnose",
    "finetune",
    "fit",
    "pretrain",
    "pseudo_likelihood",
    "resume",
    "spread",
]
