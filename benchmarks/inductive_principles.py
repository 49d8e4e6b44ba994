"""Learning rules side by side: small RBMs whose likelihood is exact, on four binary data sets.

After Marlin, Swersky, Chen & de Freitas (Inductive principles for restricted Boltzmann machine learning,
2010): an RBM with 15 hidden units by every rule, the partition function enumerated, three seeds. Validation
chooses the learning rate (of two or three, by the first seed) and the epoch; the test set is read once. Each
rule's seconds come from a few epochs that are timed one rule after the other in the end. A run's result is
kept in the folder, so that the benchmark goes on where it was stopped.

    python benchmarks/inductive_principles.py --out RESULTS
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

import torch
from _table import keep
from torch import Tensor

import harmonium as hm

HIDDEN, CHAINS, BATCH, FLIPPED, TIMED = 15, 100, 100, 0.1, 5
SETS = ("digits", "adult", "dna", "mushrooms")
ADAM = {"optimizer": "Adam"}
RULES: dict[str, tuple[dict[str, Any], dict[str, Any], float]] = {
    "cd": ({"steps": 1}, {}, 0.1),
    "pcd": ({"chains": CHAINS}, {}, 0.1),
    "fast-pcd": ({"chains": CHAINS}, {}, 0.03),
    "tempered-pcd": ({"chains": CHAINS}, {}, 0.1),
    "trajectory-tempering": ({"chains": CHAINS}, {}, 0.1),
    "tap": ({}, {}, 0.03),
    "pseudolikelihood": ({}, ADAM, 0.01),
    "ratio-matching": ({}, ADAM, 0.01),
    "probability-flow": ({}, ADAM, 0.01),
    "noise-contrastive": ({}, ADAM, 0.01),
    "exact": ({}, {}, 0.1),
}
"""Each rule's settings, those of its fit, and the middle one of its learning rates."""

FACTORS = (1 / 3, 1.0, 3.0)
"""What that is multiplied by to try others; exact enumeration, slow as it is, tries two."""

EPOCHS = {"digits": 200, "adult": 100, "dna": 200, "mushrooms": 200}
LEVEL = 0.9
"""The level whose time is told: this share of the way from independent units to the best rule."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="the folder of results; what is there is kept")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train-only", action="store_true", help="neither time the rules nor write tables")
    args = parser.parse_args()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    found = {name: [] for name in args.sets}
    for name in args.sets:
        for rule in args.rules:
            factors = FACTORS[1:] if rule == "exact" else FACTORS
            tried = [result(folder, name, rule, 0, factor) for factor in factors]
            best = max(range(len(factors)), key=lambda i: tried[i]["validation"])
            others = [result(folder, name, rule, seed, factors[best]) for seed in range(1, args.seeds)]
            found[name] += [tried[best], *others]
    for name in [] if args.train_only else args.sets:
        tell(folder, name, args.rules, found[name])


def result(folder: Path, name: str, rule: str, seed: int, factor: float) -> dict[str, Any]:
    """Return a run's result; train it if it is not there."""
    path = folder / f"{name}-{rule}-{seed}-{factor:.2f}.json"
    if not path.exists():
        found = train(name, rule, seed, RULES[rule][2] * factor)
        path.write_text(json.dumps(found))
        told = {k: round(found[k], 3) for k in ("lr", "validation", "test")}
        print(name, rule, seed, told, flush=True)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def train(name: str, rule: str, seed: int, lr: float) -> dict[str, Any]:
    """Train one machine and measure it."""
    data = hm.datasets.load(name)
    model = hm.RBM(data.train.shape[1], HIDDEN, seed=seed)
    settings, options, _ = RULES[rule]
    history = hm.fit(
        model,
        data,
        hm.RULES[rule](**settings),
        epochs=EPOCHS[name],
        batch_size=BATCH,
        lr=lr,
        seed=seed,
        probe=len(data.validation),
        likelihood_every=max(EPOCHS[name] // 50, 1),
        likelihood={"method": "exact"},
        score="validation/log_likelihood",
        patience=EPOCHS[name],
        **options,
    )
    path = [
        (record["epoch"], record["validation/log_likelihood"])
        for record in history.records
        if record.get("validation/log_likelihood") is not None
    ]
    log_z = hm.log_partition(model, "exact")
    return {
        "rule": rule,
        "seed": seed,
        "lr": lr,
        "validation": max(value for _, value in path),
        "test": hm.log_likelihood(model, data, log_partition=log_z).mean,
        "train": hm.log_likelihood(model, data.fixed("train"), log_partition=log_z).mean,
        "baseline": hm.datasets.summary(data)["baseline_log_likelihood"],
        "path": path,
        **errors(model, data.test.float(), seed),
    }


def epoch_seconds(name: str, rule: str) -> float:
    """Return the seconds of an epoch's updates, the best of a few."""
    data = hm.datasets.load(name)
    settings, options, lr = RULES[rule]
    model = hm.RBM(data.train.shape[1], HIDDEN)
    history = hm.fit(
        model, data, hm.RULES[rule](**settings), epochs=TIMED, batch_size=BATCH, lr=lr, probe=2, **options
    )
    return min(record["epoch_seconds"] for record in history.records)


@torch.no_grad()
def errors(model: hm.RBM, rows: Tensor, seed: int) -> dict[str, float]:
    """Return the shares of bits that are wrong after one mean step from the rows, and from noisy ones."""
    flips = hm.Stream(seed, "noise").uniform(*rows.shape) < FLIPPED
    noisy = torch.where(flips, 1 - rows, rows)
    wrong = [((model.reconstruct(x) > 0.5) != (rows > 0.5)).double().mean() for x in (rows, noisy)]
    return {"reconstruction": float(wrong[0]), "denoising": float(wrong[1])}


def tell(folder: Path, name: str, rules: list[str], runs: list[dict[str, Any]]) -> None:
    """Print the table of a data set, the best rule first."""
    base = runs[0]["baseline"]
    level = base + LEVEL * (max(run["validation"] for run in runs) - base)
    rows = []
    for rule in rules:
        own = [run for run in runs if run["rule"] == rule]
        row: dict[str, Any] = {"rule": rule, "lr": own[0]["lr"]}
        for key in ("test", "train", "denoising", "reconstruction"):
            row[key] = statistics.mean(run[key] for run in own)
        row["spread"] = statistics.stdev(run["test"] for run in own) if len(own) > 1 else math.nan
        epochs = [next((e for e, value in run["path"] if value >= level), math.inf) for run in own]
        seconds = epoch_seconds(name, rule)
        row["s an epoch"] = seconds
        row[f"s to {level:.2f}"] = statistics.median(epochs) * seconds
        rows.append(row)
    rows.sort(key=lambda row: -row["test"])
    rows.append({**dict.fromkeys(rows[0], ""), "rule": "independent bits", "test": base})
    keep(str(folder / f"{name}.md"), f"{name}: RBMs with {HIDDEN} hidden units, nats per row", rows)


if __name__ == "__main__":
    main()
