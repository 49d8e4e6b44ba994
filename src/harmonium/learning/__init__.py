"""How to learn: rules that turn a batch into gradients, by name in ``RULES``."""

from ._adversarial import Adversarial
from ._augment import AUGMENTATIONS, augment
from ._contrastive import CD, PCD, chain_rows, seen_by_chains
from ._discriminative import Discriminative, Hybrid
from ._exact import ExactLikelihood
from ._fast import FastPCD
from ._multi_prediction import MultiPrediction
from ._noise_contrastive import NoiseContrastive
from ._payoffs import PAYOFFS, Payoffs
from ._probability_flow import ProbabilityFlow
from ._pseudolikelihood import Pseudolikelihood
from ._ratio_matching import RatioMatching
from ._rule import Apply, Batch, Metrics, Rule
from ._score_matching import DenoisingScoreMatching, ScoreMatching
from ._supervised import CrossEntropy, Reconstruction, reconstruction_errors
from ._tap import TAP
from ._tempered import TemperedPCD
from ._trajectory import TrajectoryTempering
from ._variational import VariationalPCD
from ._wake_sleep import WakeSleep

RULES: dict[str, type[Rule]] = {
    rule.name: rule
    for rule in (
        CD,
        PCD,
        FastPCD,
        TemperedPCD,
        TrajectoryTempering,
        ExactLikelihood,
        Pseudolikelihood,
        RatioMatching,
        ProbabilityFlow,
        ScoreMatching,
        DenoisingScoreMatching,
        MultiPrediction,
        NoiseContrastive,
        TAP,
        Discriminative,
        Hybrid,
        CrossEntropy,
        Reconstruction,
        VariationalPCD,
        WakeSleep,
        Adversarial,
    )
}
"""The learning rules by name."""

__all__ = [
    "AUGMENTATIONS",
    "CD",
    "PAYOFFS",
    "PCD",
    "RULES",
    "TAP",
    "Adversarial",
    "Apply",
    "Batch",
    "CrossEntropy",
    "DenoisingScoreMatching",
    "Discriminative",
    "ExactLikelihood",
    "FastPCD",
    "Hybrid",
    "Metrics",
    "MultiPrediction",
    "NoiseContrastive",
    "Payoffs",
    "ProbabilityFlow",
    "Pseudolikelihood",
    "RatioMatching",
    "Reconstruction",
    "Rule",
    "ScoreMatching",
    "TemperedPCD",
    "TrajectoryTempering",
    "VariationalPCD",
    "WakeSleep",
    "augment",
    "chain_rows",
    "reconstruction_errors",
    "seen_by_chains",
]
