"""What the benchmarks with run folders share: a folder goes on only by the settings that it was made by."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harmonium as hm

TOLD = ("epoch", "seconds", "rule/told", "validation/told", "samples/spread")
"""What is printed of an epoch of a game."""


def settings_of(args: argparse.Namespace, *but: str) -> dict[str, Any]:
    """Return the values of a command line, but for some that a run does not depend on."""
    return {name: value for name, value in vars(args).items() if name not in ("out", "table", *but)}


def seconds_of(run: str | Path) -> float:
    """Return how long the training of a run folder took, that of all its parts, resumed or not."""
    logs = [path.read_text().splitlines() for path in Path(run).rglob("metrics.jsonl")]
    return sum(float(json.loads(lines[-1])["seconds"]) for lines in logs)


def seconds_before(out: str | Path) -> float:
    """Return how long the trainings took that a run began with, as the note beside it names them."""
    note = Path(f"{out}.settings.json")
    settings = json.loads(note.read_text()) if note.exists() else {}
    runs = [settings[name] for name in ("rbm", "dbm") if settings.get(name)]
    return sum(seconds_of(run) + seconds_before(run) for run in runs)


def _begun(out: str | Path, settings: dict[str, Any]) -> bool:
    """Return whether a run folder is there; note what it is made by, beside it, if it is not.

    Arguments:
        out: The run folder.
        settings: What it depends on, as JSON values.

    Raises:
        SystemExit: It is there, and was made by others.
    """
    note, found = Path(f"{out}.settings.json"), Path(out).exists()
    wanted = json.loads(json.dumps(settings))
    if found and note.exists():
        made_by = json.loads(note.read_text())
        other = [name for name in {**made_by, **wanted} if made_by.get(name) != wanted.get(name)]
        if other:
            pairs = "; ".join(f"{name}: {made_by.get(name)}, not {wanted.get(name)}" for name in other)
            raise SystemExit(f"{out}: it was made by other settings ({pairs}); name another folder")
    if not found:
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(wanted, indent=2) + "\n")
    return found


def gone_on(
    out: str | Path,
    settings: dict[str, Any],
    data: hm.Dataset,
    start: Callable[..., hm.History],
    callback: Callable[[dict[str, Any]], Any],
    **own: Any,
) -> hm.History:
    """Train into a run folder, or go on with the run that is there.

    Arguments:
        out: The run folder.
        settings: What it depends on, as JSON values.
        data: The data set.
        start: Begins the training, given ``out`` and ``callback``.
        callback: Called with the record of each epoch.
        own: Arguments of :func:`harmonium.resume`.

    Raises:
        SystemExit: It was interrupted.
    """
    if _begun(out, settings):
        history = hm.resume(out, data, callback=callback, **own)
    else:
        history = start(out=out, callback=callback)
    if history.stopped == "interrupted":
        raise SystemExit(f"{out}: interrupted; the same command goes on")
    return history


def played(
    out: str | Path,
    settings: dict[str, Any],
    data: hm.Dataset,
    start: Callable[..., hm.History],
    minutes: float = math.inf,
    **own: Any,
) -> hm.History:
    """Train an adversarial network for its minutes, or go on with one until they are over.

    Arguments:
        out: The run folder.
        settings: What it depends on, as JSON values.
        data: The data set.
        start: Begins the training, given ``out`` and ``callback``.
        minutes: Of training, checkpoints included.
        own: Arguments of :func:`harmonium.resume`.

    Raises:
        SystemExit: It was interrupted.
    """

    def late(record: dict[str, Any]) -> bool:
        told = {name: record[name] for name in TOLD if record.get(name) is not None}
        print(Path(out).name, told, flush=True)
        return bool(record["seconds"] > 60 * minutes)

    return gone_on(out, settings, data, start, late, **own)
