"""How to learn: rules that turn a batch into gradients, by name in ``RULES``."""

from ._contrastive import CD, PCD
from ._rule import Apply, Batch, Metrics, Rule
from ._tempered import TemperedPCD

RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (CD, PCD, TemperedPCD)}
"""The learning rules by name."""

__all__ = ["CD", "PCD", "RULES", "Apply", "Batch", "Metrics", "Rule", "TemperedPCD"]
