"""The demonstration: a machine trained, evaluated and reported on in less than a minute."""

from __future__ import annotations

__all__ = ["ESTIMATE", "SETTINGS", "demo"]

import shlex
import time
from itertools import count
from pathlib import Path

from ..report import open_run, write_report
from ..threads import one_thread
from ._console import note, print_commands, print_json, say
from ._evaluate import evaluate_run, tell
from ._train import start, understand

SETTINGS = (
    "hidden=128",
    "rule=pcd",
    "rule.chains=500",
    "epochs=200",
    "batch_size=50",
    "lr=0.4",
    "likelihood_every=40",
    "patience=2",
)
ESTIMATE = {"method": "bridge", "runs": 200, "betas": 2000}

_NAME = "harmonium-demo"
_SAME = ("hidden", "epochs", "batch_size", "lr")


def demo(out: Path | None, as_json: bool) -> None:
    """Train, evaluate and report, and print what to try next."""
    began = time.monotonic()
    folder = _free() if out is None else out
    with one_thread():
        note(f"training an RBM on digits, in {folder} (the very first run compiles its kernels before)")
        history = start(understand("rbm", "digits", list(SETTINGS)), folder)
        run = open_run(folder)
        found = evaluate_run(run, "test", ESTIMATE)
        report = write_report(folder)
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        about = {"run": str(folder), "report": str(report), "seconds": seconds}
        print_json({**about, "stopped": history.stopped, "evaluation": found})
        return
    tell(run, found)
    say(f"Report: {report} ({seconds:.0f} seconds in all)")
    name, other = shlex.quote(str(folder)), shlex.quote(f"{folder}-cd")
    same = " ".join(f"--set {pair}" for pair in SETTINGS if pair.split("=")[0] in _SAME)
    print_commands(
        "Try next:",
        [
            f"harmonium sample {name} --means --from chains --out {shlex.quote(f'{folder}.png')}",
            f"harmonium evaluate {name} --split train",
            f"harmonium train rbm --data digits --out {other} --set rule=cd {same}",
        ],
    )


def _free() -> Path:
    """Return the first name that is free: harmonium-demo, harmonium-demo-2, ..."""
    names = (Path(_NAME if i == 1 else f"{_NAME}-{i}") for i in count(1))
    return next(path for path in names if not path.exists())
