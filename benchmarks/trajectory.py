"""Trajectory tempering: the weights of modes that chains do not leave, and log Z while it learns.

`modes`: an RBM learns MNIST's zeros and ones by trajectory tempering, another by PCD, by equally many updates
of the same size. After ``--epochs`` at a falling rate come ``--settle`` epochs at one that is constant and so
small that the ladder's chains, which are few and slow to change their digit, keep up with it: a fast one
makes the shares swing. What share of each model's distribution are ones? A classifier that was trained apart
tells the digits of samples: the model's chains as they go on with the parameters held, exchanged with the
ladder or alone; and annealing runs with their weights, which know nothing of any chains. Standard errors
respect autocorrelation; z is the distance from the share of the training rows, whose own error counts as
well. Needs the MNIST files (see docs/data.md).

`digits`: the log-likelihood by the log Z that the rule tells while it learns, against that of annealing runs
in both directions, for the parameters of the same updates.

    python benchmarks/trajectory.py modes --out RUN
    python benchmarks/trajectory.py digits --out RUN
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from _table import keep
from sklearn.linear_model import LogisticRegression
from torch import Tensor

import harmonium as hm
from harmonium.learning import Batch
from harmonium.likelihood._ais import Base, anneal, log_mean_weight, schedule
from harmonium.samplers import effective_sample_size, split_rhat
from harmonium.training.checkpoint import RunFolder

DIGITS = (0, 1)
RULES = ("trajectory-tempering", "pcd")
FIT = ("epochs", "batch_size", "lr", "momentum", "schedule", "averaging", "init", "seed")
SETTINGS: dict[str, dict[str, Any]] = {
    "modes": {
        "hidden": 200,
        "epochs": 150,
        "lr": 0.005,
        "schedule": "cosine",
        "averaging": 0.2,
        "init": "pca",
        "settle": 50,
        "rungs": 6,
        "sweeps": 1000,
        "runs": 500,
        "betas": 6000,
    },
    "digits": {
        "hidden": 100,
        "epochs": 500,
        "lr": 0.05,
        "schedule": "linear",
        "averaging": 0.1,
        "init": "base-rates",
        "settle": 0,
        "rungs": 1,
        "sweeps": 500,
        "runs": 500,
        "betas": 3000,
    },
}
TOLD = ("epoch", "updates", "rule/")
SHOWN = ("epoch", "seconds", "train/free_energy", "rule/rungs", "rule/swap_rate", "rule/least_swap_rate")

Test = Callable[[Tensor], Tensor]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=list(SETTINGS))
    parser.add_argument("--out", required=True, help="a folder; what is there is kept and goes on")
    parser.add_argument("--rules", nargs="+", choices=RULES, default=RULES, help="of the modes")
    for name, value in SETTINGS["modes"].items():
        parser.add_argument(f"--{name}", type=type(value))
    parser.add_argument("--settle-lr", type=float, default=0.0003)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--chains", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--append-below", type=float, default=0.4)
    parser.add_argument("--refuse-below", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--burn", type=int, default=100, help="the first of the sweeps, which do not count")
    parser.add_argument(
        "--at", type=int, nargs="+", default=[1, 20, 50, 100, 200, 500], help="epochs checked"
    )
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()
    for name, value in SETTINGS[args.part].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    title, rows = {"modes": modes, "digits": live}[args.part](args, Path(args.out))
    keep(args.table, title, rows)


def rules(args: argparse.Namespace) -> dict[str, Any]:
    """Return the rules by name."""
    ladder = {"rungs": args.rungs, "append_below": args.append_below, "refuse_below": args.refuse_below}
    each = {"chains": args.chains, "steps": args.steps}
    return {"trajectory-tempering": hm.TrajectoryTempering(**each, **ladder), "pcd": hm.PCD(**each)}


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of a fit."""
    return {name: getattr(args, name) for name in FIT}


def kept(path: Path, make: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a JSON file holds; make it by a function if it is not there."""
    if not path.exists():
        path.write_text(json.dumps(make(*arguments)))
    return json.loads(path.read_text())


# --- the weights of modes -----------------------------------------------------------------------


@torch.no_grad()
def modes(args: argparse.Namespace, folder: Path) -> tuple[str, list[Row]]:
    """Train both models and weigh their modes."""
    data = zeros_and_ones()
    is_one, accuracy = classifier(data)
    n = len(data.train)
    share = float((data.labels["train"] == 1).double().mean())
    rows = [row("data", "labels", share, n, {})]
    for name in args.rules:
        history = train(name, rules(args)[name], data, args, folder / name)
        seconds = history.records[-1]["seconds"]
        minus_energy = -float(history.model.free_energy(data.test.float()).mean())
        own = {"ladder": ladder_chains} if name != "pcd" else {}
        for method, measure in {**own, "chains": plain_chains, "annealing": annealed}.items():
            path = folder / f"{name}-{method}.json"
            found = kept(path, measure, history.model, folder / name, is_one, args)
            if "log_partition" in found:
                found["nats"] = minus_energy - found["log_partition"]
            rows.append(row(name, method, found["share"], found["ess"], {**found, "seconds": seconds}))
            print({key: value for key, value in rows[-1].items() if value != ""}, flush=True)
    error = rows[0]["± error"]
    for each in rows[1:]:
        each["z"] = (each["ones"] - share) / math.hypot(each["± error"], error)
    updates = history.records[-1]["updates"]
    title = f"RBM 784-{args.hidden} on MNIST's zeros and ones, {updates} updates by each rule"
    return f"{title}; test accuracy of the classifier {accuracy:.4f}", rows


def row(model: str, method: str, share: float, ess: float, found: Row) -> Row:
    """Return a row of the table."""
    return {
        "model": model,
        "by": method,
        "ones": share,
        "± error": math.sqrt(share * (1 - share) / ess),
        "z": "",
        "log-odds": found.get("log_odds", math.log(share / (1 - share)) if 0 < share < 1 else ""),
        "effective samples": round(ess),
        "R-hat": found.get("rhat", ""),
        "changes of digit in 1000 sweeps": found.get("changes", ""),
        "log Z": found.get("log_partition", ""),
        "± log Z": found.get("log_partition_error", ""),
        "test nats": found.get("nats", ""),
        "rungs": found.get("rungs", ""),
        "training s": found.get("seconds", ""),
    }


def zeros_and_ones() -> hm.Dataset:
    """Return the rows of MNIST that are a zero or a one."""
    data = hm.datasets.load("mnist", validation=0)
    own = {split: torch.isin(labels, torch.tensor(DIGITS)) for split, labels in data.labels.items()}
    parts = {split: getattr(data, split)[rows] for split, rows in own.items()}
    labels = {split: data.labels[split][rows] for split, rows in own.items()}
    return replace(data, name="mnist, zeros and ones", labels=labels, **parts)


def classifier(data: hm.Dataset) -> tuple[Test, float]:
    """Return a test of whether rows of bits are ones, and its accuracy on the test rows."""
    machine = LogisticRegression(max_iter=1000).fit(data.fixed("train").numpy(), data.labels["train"].numpy())
    weight, bias = torch.from_numpy(machine.coef_[0]).float(), float(machine.intercept_[0])

    def is_one(v: Tensor) -> Tensor:
        return v.float() @ weight + bias > 0

    accuracy = (is_one(data.test) == (data.labels["test"] == 1)).double().mean()
    return is_one, float(accuracy)


def train(name: str, rule: Any, data: hm.Dataset, args: argparse.Namespace, path: Path) -> Any:
    """Return the history of a run, which goes on where it stopped."""

    def show(record: Row) -> None:
        if record["epoch"] % max(args.epochs // 20, 1) == 0:
            print(name, {key: round(record[key], 3) for key in SHOWN if key in record}, flush=True)

    settling = {"epochs": args.epochs + args.settle, "lr": args.settle_lr, "schedule": "constant"}
    if not path.exists():
        model = hm.RBM(data.columns, args.hidden, seed=args.seed)
        history = hm.fit(model, data, rule, out=path, callback=show, **options(args))
    else:
        history = hm.resume(path, data, callback=show)
    if args.settle and history.records[-1]["epoch"] == args.epochs:
        history = hm.resume(path, data, callback=show, **settling)
    return history


def state_of(path: Path) -> dict[str, Tensor]:
    """Return the rule's state at the end of a run."""
    tensors, _ = RunFolder(path).load()
    return {name.removeprefix("state:"): x for name, x in tensors.items() if name.startswith("state:")}


def ladder_chains(model: hm.RBM, path: Path, is_one: Test, args: argparse.Namespace) -> Row:
    """Let all rungs and the model's chains go on, exchanged, by updates whose steps are not taken."""
    state, stream, sides = state_of(path), hm.Stream(args.seed, "ladder"), []
    rungs = len(state["ladder.visible"])
    rule = hm.TrajectoryTempering(chains=args.chains, rungs=rungs, append_below=1e-9, refuse_below=0)
    batch = Batch(state["chain.visible"][:1], torch.ones(1), torch.zeros(1, dtype=torch.int64))
    for _ in range(args.sweeps):
        state, metrics = rule.update(model, batch, state, stream, lambda group: None)
        sides.append(is_one(state["chain.visible"]))
    told = {name: float(metrics[name]) for name in ("log_partition", "log_partition_error")}
    return {**weigh(torch.stack(sides)[args.burn :]), **told, "rungs": rungs}


def plain_chains(model: hm.RBM, path: Path, is_one: Test, args: argparse.Namespace) -> Row:
    """Let the model's chains go on alone."""
    gibbs, stream, sides = hm.Gibbs(), hm.Stream(args.seed, "chains"), []
    start = {"visible": state_of(path)["chain.visible"]}
    state = gibbs.init(model, len(start["visible"]), stream, start)
    for _ in range(args.sweeps):
        state, _ = gibbs.step(model, state, stream)
        sides.append(is_one(state["visible"]))
    return weigh(torch.stack(sides)[args.burn :])


def weigh(sides: Tensor) -> Row:
    """Return the share of ones in draws of shape (sweeps, chains), and how many draws it is worth.

    Chains that never change are worth one draw each.
    """
    draws = sides.double()
    changes = float(draws.diff(dim=0).abs().mean())
    ess = effective_sample_size(draws) if changes else float(draws.shape[1])
    return {"share": float(draws.mean()), "ess": ess, "rhat": split_rhat(draws), "changes": 1000 * changes}


@torch.no_grad()
def annealed(model: hm.RBM, path: Path, is_one: Test, args: argparse.Namespace) -> Row:
    """Weigh the last states of annealing runs; the effective number is what the share's error says."""
    stream, base = hm.Stream(args.seed, "annealing"), Base(model)
    betas = schedule("adaptive", args.betas, model, base, stream.child("schedule"))
    log_weight, last = anneal(model, base, betas, base.sample(model, args.runs, stream), stream)
    side = is_one(last["visible"])
    weight = torch.softmax(log_weight, 0)
    share = float(weight[side].sum())
    variance = float((weight * (side.double() - share)).square().sum())
    log_z, error, _ = log_mean_weight(log_weight)
    return {
        "share": share,
        "ess": share * (1 - share) / variance if variance else 1 / float(weight.square().sum()),
        "log_odds": float(log_weight[side].logsumexp(0) - log_weight[~side].logsumexp(0)),
        "log_partition": base.log_partition + log_z,
        "log_partition_error": error,
    }


# --- log Z while the model learns ---------------------------------------------------------------


@torch.no_grad()
def live(args: argparse.Namespace, folder: Path) -> tuple[str, list[Row]]:
    """Compare the log-likelihoods that follow from what the rule tells with those of annealing runs."""
    data = hm.datasets.load("digits")
    seen = kept(folder / "told.json", watch, data, args, folder)
    rows = []
    for told in seen:
        model = hm.load(folder / f"{told['epoch']}.safetensors")
        log_z = told["rule/log_partition"]
        minus_energy = -float(model.double().free_energy(data.test.double()).mean())
        found = kept(folder / f"{told['epoch']}.json", bracket, model.float(), data, args)
        value = minus_energy - log_z
        rows.append(
            {
                "epoch": told["epoch"],
                "updates": told["updates"],
                "rungs": int(told["rule/rungs"]),
                "least swap rate": told["rule/least_swap_rate"],
                "live": value,
                "± live": told["rule/log_partition_error"],
                **found,
                "outside by": max(found["lower"] - value, value - found["upper"], 0.0),
            }
        )
    return f"RBM 64-{args.hidden} on digits: test log-likelihood while it learns, nats per row", rows


def watch(data: hm.Dataset, args: argparse.Namespace, folder: Path) -> list[Row]:
    """Train, keep the parameters that the metrics tell of at some epochs, and return those records."""
    told: list[Row] = []
    before = hm.RBM(data.columns, args.hidden)

    class Watched(hm.TrajectoryTempering):
        """Creates the rule that keeps the parameters which its last update began with."""

        def update(self, model: Any, *others: Any) -> Any:
            before.load_state_dict(model.state_dict())
            return super().update(model, *others)

    def look(record: Row) -> None:
        if record["epoch"] in args.at:
            hm.save(before, folder / f"{record['epoch']}.safetensors")
            told.append(
                {key: x for key, x in record.items() if key.startswith(("rule/", "epoch", "updates"))}
            )

    rule = Watched(**rules(args)["trajectory-tempering"].model_dump())
    hm.fit(hm.RBM(data.columns, args.hidden, seed=args.seed), data, rule, callback=look, **options(args))
    return told


def bracket(model: hm.RBM, data: hm.Dataset, args: argparse.Namespace) -> Row:
    """Return both ends of the test log-likelihood by annealing."""
    settings = {"runs": args.runs, "betas": args.betas, "equilibrate": args.sweeps, "seed": args.seed}
    result = hm.log_likelihood(model, data, method="bridge", **settings)
    return {name: getattr(result, name) for name in ("lower", "upper", "trusted")}


if __name__ == "__main__":
    main()
