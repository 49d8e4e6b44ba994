"""How to learn: rules that turn a batch into gradients, by name in ``RULES``."""

from ._contrastive import CD, PCD
from ._discriminative import Discriminative, Hybrid
from ._rule import Apply, Batch, Metrics, Rule
from ._tempered import TemperedPCD

RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (CD, PCD, TemperedPCD, Discriminative, Hybrid)
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
    "Rule",
    "TemperedPCD",
]
