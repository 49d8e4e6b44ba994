"""Learning rules side by side: small RBMs whose likelihood is exact, on four binary data sets.

After Marlin, Swersky, Chen & de Freitas (Inductive principles for restricted Boltzmann machine learning,
2010): an RBM with 15 hidden units by every rule, the partition function enumerated, three seeds. Validation
chooses the epoch; the test set is read once. A run's result is kept in the folder, so that the benchmark
goes on where it was stopped.

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

HIDDEN, CHAINS, BATCH, FLIPPED = 15, 100, 100, 0.1
SETS = ("digits", "adult", "dna", "mushrooms")
RULES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "exact": ({}, {"lr": 0.1}),
    "cd": ({"steps": 1}, {"lr": 0.1}),
    "pcd": ({"chains": CHAINS}, {"lr": 0.1}),
    "fast-pcd": ({"chains": CHAINS}, {"lr": 0.05}),
    "tempered-pcd": ({"chains": CHAINS}, {"lr": 0.1}),
    "trajectory-tempering": ({"chains": CHAINS}, {"lr": 0.1}),
    "tap": ({}, {"lr": 0.05}),
    "pseudolikelihood": ({}, {"lr": 0.02, "optimizer": "Adam"}),
    "ratio-matching": ({}, {"lr": 0.02, "optimizer": "Adam"}),
    "probability-flow": ({}, {"lr": 0.02, "optimizer": "Adam"}),
    "noise-contrastive": ({}, {"lr": 0.02, "optimizer": "Adam"}),
}
"""Each rule's settings, and those of its fit."""

EPOCHS = {"digits": 200, "adult": 100, "dna": 200, "mushrooms": 200}
LEVEL = 0.9
"""The level whose time is told: this share of the way from independent units to the best rule."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="the folder of results; what is there is kept")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in args.sets:
        runs = [result(folder, name, rule, seed) for rule in args.rules for seed in range(args.seeds)]
        tell(folder, name, args.rules, runs)


def result(folder: Path, name: str, rule: str, seed: int) -> dict[str, Any]:
    """Return a run's result; train it if it is not there."""
    path = folder / f"{name}-{rule}-{seed}.json"
    if not path.exists():
        found = train(name, rule, seed)
        path.write_text(json.dumps(found))
        print(f"{name} {rule} {seed}: {found['test']:.3f} nats in {found['seconds']:.0f} s", flush=True)
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def train(name: str, rule: str, seed: int) -> dict[str, Any]:
    """Train one machine and measure it."""
    data = hm.datasets.load(name)
    model = hm.RBM(data.train.shape[1], HIDDEN, seed=seed)
    settings, options = RULES[rule]
    every = max(EPOCHS[name] // 50, 1)
    history = hm.fit(
        model,
        data,
        hm.RULES[rule](**settings),
        epochs=EPOCHS[name],
        batch_size=BATCH,
        seed=seed,
        probe=len(data.validation),
        likelihood_every=every,
        likelihood={"method": "exact"},
        score="validation/log_likelihood",
        patience=EPOCHS[name],
        **options,
    )
    path = [(r["seconds"], r["validation/log_likelihood"]) for r in history.records if every_has(r)]
    log_z = hm.log_partition(model, "exact")
    return {
        "rule": rule,
        "seed": seed,
        "test": hm.log_likelihood(model, data, log_partition=log_z).mean,
        "train": hm.log_likelihood(model, data.fixed("train"), log_partition=log_z).mean,
        "baseline": hm.datasets.summary(data)["baseline_log_likelihood"],
        "seconds": history.records[-1]["seconds"],
        "path": path,
        **errors(model, data.test.float(), seed),
    }


def every_has(record: dict[str, Any]) -> bool:
    """Return whether the likelihood was measured in this epoch."""
    return record.get("validation/log_likelihood") is not None


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
    best = max(max(value for _, value in run["path"]) for run in runs)
    level = base + LEVEL * (best - base)
    rows = []
    for rule in rules:
        own = [run for run in runs if run["rule"] == rule]
        row: dict[str, Any] = {"rule": rule}
        for key in ("test", "train", "denoising", "reconstruction", "seconds"):
            row[key] = statistics.mean(run[key] for run in own)
        row["spread"] = statistics.stdev(run["test"] for run in own) if len(own) > 1 else math.nan
        times = [next((t for t, value in run["path"] if value >= level), math.inf) for run in own]
        row[f"seconds to {level:.2f}"] = statistics.median(times)
        rows.append(row)
    rows.sort(key=lambda row: -row["test"])
    rows.append({**dict.fromkeys(rows[0], ""), "rule": "independent bits", "test": base})
    keep(str(folder / f"{name}.md"), f"{name}: RBMs with {HIDDEN} hidden units, nats per row", rows)


if __name__ == "__main__":
    main()
