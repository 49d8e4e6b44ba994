"""A page of a run: what was trained, how good it is, and whether to believe it.

:func:`open_run` brings back all that a run folder tells of, and :func:`write_report` makes one HTML
file of it that needs nothing else: its style is inline and its pictures are part of it.
"""

from ._opened import EVALUATION, OpenRun, environment, open_data, open_run
from ._write import write_report

__all__ = [
    "EVALUATION",
    "OpenRun",
    "environment",
    "open_data",
    "open_run",
    "write_report",
]
