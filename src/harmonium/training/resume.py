"""Going on with a run of any kind."""

from __future__ import annotations

__all__ = ["resume"]

from pathlib import Path
from typing import Any

from ..errors import ArgumentError
from ..models import Model
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
    model: Model | None = None,
    **changes: Any,
) -> History:
    """Go on with a run from its last checkpoint, bit for bit.

    Arguments:
        path: The run folder.
        data: The data that the run began with.
        weights: Their weights, as then.
        validation: The validation rows, as then.
        callback: Called with each epoch's record.
        model: A model like the run's, which goes on from the checkpoint; needed if its networks are the
            user's own.
        changes: Options to change, such as more ``epochs``; the folder remembers them.

    Raises:
        ArgumentError: An option is unknown, out of range, or one that cannot be changed.
        FileError: The folder is no run, its checkpoint is damaged, or the data are others.
    """
    greedy = RunFolder(path).config()["rule"].get("name") == GREEDY
    rest: dict[str, Any] = {"weights": weights, "validation": validation, "callback": callback}
    if not greedy:
        return go_on(path, data, model=model, **rest, **changes)
    if model is not None:
        raise ArgumentError("model: got one, expected None, as the run's own is made from its folder")
    return resume_pretraining(path, data, **rest, **changes)
