"""A page of a run: what was trained, how good it is, and whether to believe it.

:func:`open_run` brings back all that a run folder tells of, and :func:`write_report` makes one HTML
file of it that needs nothing else: its style is inline and its pictures are part of it. :func:`draw`
samples a run's model from where its training left the chains, :func:`write_fasta` writes
sequences, and :func:`bound_growth` tells how the bound of a deep belief network grew with its layers.
"""

from ._draws import draw
from ._fasta import SEQUENCES, scored, write_fasta
from ._growth import bound_growth, cut
from ._measures import measures_lead, measures_table
from ._networks import beside_table
from ._opened import (
    BESIDE,
    EVALUATION,
    MEASURED,
    OpenRun,
    environment,
    open_data,
    open_entry,
    open_model,
    open_run,
    with_transform,
)
from ._write import write_report

__all__ = [
    "BESIDE",
    "EVALUATION",
    "MEASURED",
    "SEQUENCES",
    "OpenRun",
    "beside_table",
    "bound_growth",
    "cut",
    "draw",
    "environment",
    "measures_lead",
    "measures_table",
    "open_data",
    "open_entry",
    "open_model",
    "open_run",
    "scored",
    "with_transform",
    "write_fasta",
    "write_report",
]
