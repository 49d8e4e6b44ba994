"""The demonstration: a machine of each family trained, evaluated and reported on, in a minute or so."""

from __future__ import annotations

__all__ = ["ESTIMATE", "OTHERS", "QUICK", "SETTINGS", "demo"]

import shlex
import time
from itertools import count
from pathlib import Path
from typing import Any

from ..report import open_run, write_report
from ..threads import one_thread
from ._console import note, print_commands, print_json, print_table, say
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
QUICK = (
    "hidden=128",
    "rule=pcd",
    "rule.chains=100",
    "epochs=20",
    "batch_size=50",
    "lr=0.4",
    "likelihood_every=10",
)
OTHERS: dict[str, tuple[str, ...]] = {
    "boltzmann": ("rule=pseudolikelihood", "epochs=30", "batch_size=50", "lr=0.1"),
    "dbn": ("hidden=[128,64]", "epochs=[60,30]", "lr=[0.2,0.1]", "batch_size=50", "rule.chains=200"),
    "dbm": (
        "hidden=[100,50]",
        "pretrain=rbm",
        "epochs=[60,20]",
        "lr=[0.2,0.05]",
        "batch_size=50",
        "rule.chains=100",
    ),
    "gan": (
        "network=dcgan",
        "network.width=16",
        "network.latent=16",
        "epochs=60",
        "rule.r1=0.1",
        "rule.r2=0.1",
    ),
}
"""The settings of each other family, by its model's name."""
ESTIMATE = {"method": "bridge", "runs": 200, "betas": 2000}
_ESTIMATES: dict[str, dict[str, Any]] = {
    "boltzmann": {"method": "ais", "runs": 100, "betas": 1000},
    "gan": {},
}
"""The settings of an evaluation, by the name of a model that has others."""

_NAME = "harmonium-demo"
_SAME = ("hidden", "epochs", "batch_size", "lr")
_SAMPLES = {"samples": 100}


def demo(out: Path | None, as_json: bool, quick: bool = False) -> None:
    """Train, evaluate and report, and print what to try next.

    Arguments:
        out: The folder of the first run; the others are called after it.
        as_json: Whether to print JSON.
        quick: Whether the first one is enough, and trained for a few seconds.
    """
    began = time.monotonic()
    folder = _free() if out is None else out
    with one_thread():
        note(f"training an RBM on digits, in {folder} (the very first run compiles its kernels before)")
        history = start(understand("rbm", "digits", list(QUICK if quick else SETTINGS)), folder)
        run = open_run(folder)
        found = evaluate_run(run, "test", ESTIMATE)
        report = write_report(folder)
        if not as_json:
            tell(run, found)
        others = {name: _other(name, folder) for name in (() if quick else OTHERS)}
    seconds = round(time.monotonic() - began, 1)
    if as_json:
        about = {"run": str(folder), "report": str(report), "seconds": seconds}
        print_json({**about, "stopped": history.stopped, "evaluation": found, "families": others})
        return
    if others:
        rows = [(name, own["run"], _reached(own["evaluation"])) for name, own in others.items()]
        rows.insert(0, ("rbm", str(folder), _reached(found)))
        print_table(
            "Beside it other families, trained for less long:", ("model", "run", "on the test rows"), rows
        )
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


def _other(name: str, folder: Path) -> dict[str, Any]:
    """Train and evaluate a model of another family, and write its report."""
    place = folder.with_name(f"{folder.name}-{name}")
    note(f"training a {name.upper()} on digits, in {place}")
    began = time.monotonic()
    start(understand(name, "digits", list(OTHERS[name])), place)
    found = evaluate_run(open_run(place), "test", _ESTIMATES.get(name, {**ESTIMATE, **_SAMPLES}))
    report = write_report(place)
    seconds = round(time.monotonic() - began, 1)
    return {"run": str(place), "report": str(report), "seconds": seconds, "evaluation": found}


def _reached(found: dict[str, Any]) -> str:
    """Say in a few words what an evaluation came to."""
    if "told" in found:
        return f"its discriminator puts digits above made ones in {found['told']:.0%} of pairs; no likelihood"
    text = f"{found['mean']:.2f} nats a row"
    return text if found.get("bound") is None else f"{text}, bound {found['bound']:.2f}"


def _free() -> Path:
    """Return the first name that is free: harmonium-demo, harmonium-demo-2, ..."""
    names = (Path(_NAME if i == 1 else f"{_NAME}-{i}") for i in count(1))
    return next(path for path in names if not path.exists())
