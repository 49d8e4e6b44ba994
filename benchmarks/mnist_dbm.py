"""A deep Boltzmann machine 784-500-1000 on MNIST: the bound on the test log-likelihood, and an estimate.

It begins with a stack of two RBMs, the first with its visible layer twice, the second with its hidden layer
twice and upside down at first, and goes on with all layers together, at a rate that decays, by mean field
and persistent chains; the parameters are averaged over the last updates. ``--pretrain rbm`` trains the first
RBM alone, as an ordinary one, and ``none`` nothing before all layers together; ``--rbm`` takes that RBM, and
the seconds of its training, from a run of mnist_rbm.py, and ``--dbm`` a machine and its seconds from a run of
this script, which learns on with other settings. With ``--sparsity`` hidden units are pulled to being
on for such a share of the time, and nothing is centred, and with ``--cd`` the RBMs learn as those of
mnist_classifier.py's belief networks do: a machine for that script. log Z comes from
annealing in both directions, where the chains of the training begin the way down; the bound of mean field is
that of all test rows, and the estimate, by samples of the hidden layers, that of the first of them. Bits are
drawn afresh at each presentation for training; the test set is one fixed sample. The training time is that of
the updates of all stages, checkpoints included, also where a run went on after it had stopped. Needs the
MNIST files (see docs/data.md).

    python benchmarks/mnist_dbm.py --out RUN
    python benchmarks/mnist_dbm.py --out RUN --rbm RUN_OF_RBM --epochs 100 --lr 0.01 --steps 5
    python benchmarks/mnist_dbm.py --out RUN --pretrain none --epochs 300 --lr 0.1 --hidden-pace 0.2 --steps 1
    python benchmarks/mnist_dbm.py --out RUN2 --dbm RUN --epochs 60 --lr 0.01 --steps 5 --burn-in 2000
    python benchmarks/mnist_dbm.py --out RUN --sparsity 0.1 --cd --batch 100 --epochs 50 50 20 --steps 1 1 1
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from _networks import machine
from _runs import gone_on, seconds_before, seconds_of, settings_of
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium.models import mean_field

QUICK = {"method": "bridge", "runs": 100, "betas": 1000, "equilibrate": 100}
DECAYING = {"momentum": 0.9, "weight_decay": 2e-4}
STAGES = {"greedy": 3, "rbm": 2, "none": 1}


def main() -> None:
    args = arguments()
    data = hm.datasets.load("mnist", validation=0)
    history = train(args, data)
    model = history.model
    assert isinstance(model, hm.DBM)
    last = {record.get("layer", "joint"): record for record in history.records}

    began = time.monotonic()
    log_z = hm.log_partition(
        model,
        method="bridge",
        runs=args.runs,
        betas=args.betas,
        equilibrate=args.equilibrate,
        chains=history.chains,
    )
    everything = hm.log_likelihood(model, data, log_partition=log_z, samples=1)
    some = hm.log_likelihood(model, data.test[: args.rows], log_partition=log_z, samples=args.samples)
    row = {
        "begun with": "an RBM" if args.rbm else "a DBM" if args.dbm else args.pretrain,
        "epochs": "-".join(str(record["epoch"]) for record in last.values()),
        "training s": seconds_before(args.out) + seconds_of(args.out),
        "bound": everything.bound,
        "± bound": everything.bound_standard_error,
        "± rows": everything.data_standard_error,
        "log Z": log_z.value,
        "log Z lower": log_z.lower,
        "log Z upper": log_z.upper,
        "± log Z": log_z.standard_error,
        f"estimate of {some.rows} rows": some.mean,
        "lower": some.lower,
        "upper": some.upper,
        "their bound": some.bound,
        "± these rows": some.data_standard_error,
        "samples": some.importance_samples,
        "effective": some.importance_ess,
        "low by": some.importance_bias,
        "trusted": some.trusted,
        "still units": still(model, data.test),
        "evaluation s": time.monotonic() - began,
    }
    print(some.reason)
    layers = "-".join(map(str, args.layers))
    keep(args.table, f"DBM {layers} on MNIST, test set, nats per row", [row])


def still(model: hm.DBM, rows: Tensor) -> str:
    """Return how many units of each hidden layer are on in under 1 % or over 99 % of rows, by mean field.

    A layer of such units tells nothing of a row: its machine is no deeper than one without it.
    """
    found = [mean_field(model, model.given(part), steps=50).means for part in rows.split(1000)]
    blocks = [f"hidden{number}" for number in range(1, model.depth + 1)]
    means = [torch.cat([means[block] for means in found]).mean(0) for block in blocks]
    return ", ".join(f"{int(((mean < 0.01) | (mean > 0.99)).sum())} of {len(mean)}" for mean in means)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, help="the run folder; resumed if it exists")
    parser.add_argument("--layers", type=int, nargs=3, default=[784, 500, 1000])
    parser.add_argument("--pretrain", choices=list(STAGES), default="greedy")
    first = parser.add_mutually_exclusive_group()
    first.add_argument("--rbm", help="the run folder of an RBM to begin with, in place of --pretrain")
    first.add_argument("--dbm", help="likewise of a whole machine, which goes on from there")
    parser.add_argument("--epochs", type=int, nargs="+", default=[50, 50, 200], help="of each stage")
    parser.add_argument("--lr", type=float, nargs="+", default=[0.05, 0.05, 0.02], help="of each stage")
    parser.add_argument("--schedule", default="linear", help="how the rate of all layers together decays")
    parser.add_argument("--averaging", type=float, default=0.1, help="share of the updates that is averaged")
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument(
        "--burn-in", type=int, default=500, help="steps of the chains before all layers learn"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[1, 1, 5], help="Gibbs steps of each stage")
    parser.add_argument("--data-steps", type=int, default=10, help="the most sweeps of mean field")
    parser.add_argument(
        "--hidden-pace", type=float, default=1.0, help="share of the rate at which the second coupling learns"
    )
    parser.add_argument("--sparsity", type=float, help="share of the time that hidden units are to be on")
    parser.add_argument(
        "--cd", action="store_true", help="train RBMs by CD, with more momentum and weight decay"
    )
    parser.add_argument("--batch", type=int, default=200)
    parser.add_argument("--every", type=int, default=25, help="epochs between estimates on the way")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=100, help="test rows whose likelihood is estimated")
    parser.add_argument("--samples", type=int, default=10_000, help="of the hidden layers, for each of these")
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--betas", type=int, default=20_000)
    parser.add_argument("--equilibrate", type=int, default=2000)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()
    stages = 1 if args.rbm or args.dbm else STAGES[args.pretrain]
    for name in ("epochs", "lr", "steps"):
        if len(getattr(args, name)) != stages:
            parser.error(f"--{name}: expected {stages} values, one for each stage")
    return args


def train(args: argparse.Namespace, data: hm.Dataset) -> hm.History:
    """Train the machine, or go on with it."""
    settings = settings_of(args, "rows", "samples", "runs", "betas", "equilibrate")
    return gone_on(args.out, settings, data, partial(begin, args, data), show)


def begin(args: argparse.Namespace, data: hm.Dataset, **options: Any) -> hm.History:
    """Train a fresh machine, or one that other runs have begun."""
    *below, steps = args.steps
    common: dict[str, Any] = {"chains": args.chains}
    if args.sparsity is not None:
        common |= {"centred": False, "sparsity_target": args.sparsity}
    chainless = {name: value for name, value in common.items() if name != "chains"}
    rules = [hm.CD(steps=own, **chainless) if args.cd else hm.PCD(steps=own, **common) for own in below]
    usual = {"momentum": 0.5, "weight_decay": 0.0}
    stages = [DECAYING if args.cd else usual] * len(rules) + [usual]
    whole = hm.VariationalPCD(
        steps=steps,
        data_steps=args.data_steps,
        burn_in=args.burn_in,
        hidden_pace=args.hidden_pace,
        **common,
    )
    options |= {
        "batch_size": args.batch,
        "averaging": args.averaging,
        "likelihood": QUICK,
        "seed": args.seed,
    }
    model = hm.DBM(args.layers, seed=args.seed)
    if args.rbm is not None:
        rbm = hm.load(Path(args.rbm) / "model.safetensors")
        assert isinstance(rbm, hm.RBM)
        model.compose([rbm])
    if args.dbm is not None:
        model, _ = machine(args.dbm)
    if args.rbm or args.dbm or args.pretrain == "none":
        own = {"epochs": args.epochs[0], "lr": args.lr[0], "schedule": args.schedule}
        return hm.fit(model, data, whole, likelihood_every=args.every, **own, **options)
    options |= {name: [stage[name] for stage in stages] for name in usual}
    return hm.pretrain(
        model,
        data,
        [*rules, whole],
        layers=1 if args.pretrain == "rbm" else None,
        epochs=args.epochs,
        lr=args.lr,
        schedule=["linear"] * len(rules) + [args.schedule],
        likelihood_every=[0] * len(rules) + [args.every],
        **options,
    )


def show(record: dict[str, Any]) -> None:
    """Print every fifth epoch, and those in which the likelihood was estimated."""
    if record["epoch"] % 5 == 0 or record.get("train/bound") is not None:
        names = ("layer", "epoch", "seconds", "rule/sweeps", "rule/residual", "train/bound", "weight/norm")
        print({name: record.get(name) for name in names}, flush=True)


if __name__ == "__main__":
    main()
