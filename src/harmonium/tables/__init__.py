"""Tables of any length against a model: rows are scored and gaps filled block by block, in bounded memory.

What is written grows in a file beside its place, with the number of rows done in a small one beside that, so
that work that was interrupted goes on where it was, and ends with the same bytes.
"""

from ._impute import HOW, impute
from ._score import WHAT, score

__all__ = ["HOW", "WHAT", "impute", "score"]
