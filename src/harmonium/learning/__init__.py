"""How to learn: rules that turn a batch into gradients, by name in ``RULES``."""

from ._contrastive import CD, PCD
from ._rule import Apply, Batch, Metrics, Rule

RULES: dict[str, type[Rule]] = {rule.name: rule for rule in (CD, PCD)}
"""The learning rules by name."""

__all__ = ["CD", "PCD", "RULES", "Apply", "Batch", "Metrics", "Rule"]
