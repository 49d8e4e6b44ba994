"""One protocol that measures the samples of any model, of an energy or a game, against a data set.

:func:`measure_samples` makes a table. Its rows are the samples, a **floor** (training rows in the place of
samples: what real rows have) and a **ceiling** (independent pixels with the training rows' distribution of
each), all of equally many rows, and all against the same held-out rows.
"""

from __future__ import annotations

__all__ = ["FEWEST", "MEASURES", "Measures", "measure_samples"]

from ._protocol import FEWEST, measure_samples
from ._table import MEASURES, Measures
