"""Going on with a run of any kind."""

from __future__ import annotations

__all__ = ["resume"]

from pathlib import Path
from typing import Any

from .checkpoint import RunFolder
from .fit import Callback, History, go_on
from .pretrain import GREEDY, resume_pretraining


def resume(
    path: str | Path,
    data: Any,
    *,
    weights: Any = None,
    validation: Any = None,
    callback: Callback | None = None,
    **changes: Any,
) -> History:
    """Go on with a run from its last checkpoint, bit for bit.

    Arguments:
        path: The run folder.
        data: The data that the run began with.
        weights: Their weights, as then.
        validation: The validation rows, as then.
        callback: Called with each epoch's record.
        changes: Options to change, such as more ``epochs``; the folder remembers them.

    Raises:
        ArgumentError: An option is unknown, out of range, or one that cannot be changed.
        FileError: The folder is no run, its checkpoint is damaged, or the data are others.
    """
    greedy = RunFolder(path).config()["rule"].get("name") == GREEDY
    again = resume_pretraining if greedy else go_on
    return again(path, data, weights=weights, validation=validation, callback=callback, **changes)
