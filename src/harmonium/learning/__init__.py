"""How to learn: rules that turn a batch into gradients, by name in ``RULES``."""

from ._contrastive import CD, PCD
from ._discriminative import Discriminative, Hybrid
from ._probability_flow import ProbabilityFlow
from ._pseudolikelihood import Pseudolikelihood
from ._ratio_matching import RatioMatching
from ._rule import Apply, Batch, Metrics, Rule
from ._tempered import TemperedPCD
from ._trajectory import TrajectoryTempering

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        CD,
        PCD,
        TemperedPCD,
        TrajectoryTempering,
        Discriminative,
        Hybrid,
        Pseudolikelihood,
        RatioMatching,
        ProbabilityFlow,
    )
}
"""The learning rules by name."""

__all__ = [
    "CD",
    "PCD",
    "RULES",
    "Apply",
    "Batch",
    "Discriminative",
    "Hybrid",
    "Metrics",
    "ProbabilityFlow",
    "Pseudolikelihood",
    "RatioMatching",
    "Rule",
    "TemperedPCD",
    "TrajectoryTempering",
]
