"""Larger RBMs on the binary tables of the NADE suite: test log-likelihood with both ends.

These sets are small and overfit: validation chooses the epoch, an L1 penalty on the weights helps, and the
test set is read once, by the model that validation chose. Log Z on the way comes from short annealing runs;
that of the result from long ones, which start in reverse from the training's chains.

    python benchmarks/tables.py --set adult --out RUN
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from _table import keep

import harmonium as hm

SETTINGS: dict[str, dict[str, Any]] = {
    "adult": {"hidden": 400, "epochs": 700, "lr": 0.1, "l1": 6e-4},
    "mushrooms": {
        "hidden": 200,
        "epochs": 400,
        "lr": 0.1,
        "l1": 5e-4,
        "rule": "tempered-pcd",
        "chains": 50,
    },
    "dna": {"hidden": 200, "epochs": 700, "lr": 0.02, "l1": 3e-4},
}
"""Found by trying a few of each, by the validation set; on mushrooms plain chains do not mix, and by a
smaller penalty log Z can no longer be trusted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", choices=list(SETTINGS), required=True)
    parser.add_argument("--out", required=True, help="a new run folder")
    parser.add_argument("--rule", choices=list(hm.RULES), help="by default pcd or tempered-pcd")
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--l1", type=float)
    parser.add_argument("--chains", type=int)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--patience", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()
    chosen = {"rule": "pcd", "chains": 200, **SETTINGS[args.set]}
    chosen |= {k: getattr(args, k) for k in chosen if getattr(args, k) is not None}

    data = hm.datasets.load(args.set)
    model = hm.RBM(data.train.shape[1], chosen.pop("hidden"), seed=args.seed)
    name, chains = chosen.pop("rule"), chosen.pop("chains")
    rule = hm.RULES[name](chains=chains, steps=args.steps)
    every = max(chosen["epochs"] // 40, 1)
    history = hm.fit(
        model,
        data,
        rule,
        out=args.out,
        batch_size=50,
        seed=args.seed,
        probe=len(data.validation),
        likelihood_every=every,
        likelihood={"method": "bridge", "runs": 100, "betas": 500, "equilibrate": 100},
        score="validation/log_likelihood",
        patience=args.patience,
        callback=show,
        **chosen,
    )
    began = time.monotonic()
    result = hm.log_likelihood(
        model, data, method="bridge", runs=500, betas=30_000, equilibrate=2000, chains=history.chains
    )
    row = {
        "set": args.set,
        "rule": name,
        "hidden": model.hidden.size,
        "lr": chosen["lr"],
        "l1": f"{chosen['l1']:g}",
        "epochs": history.records[-1]["epoch"],
        "training s": history.records[-1]["seconds"],
        "lower": result.lower,
        "test nats": result.mean,
        "upper": result.upper,
        "± rows": result.data_standard_error,
        "trusted": result.trusted,
        "evaluation s": time.monotonic() - began,
    }
    print(result.reason or history.stopped)
    keep(args.table, f"RBM on {args.set}", [row])


def show(record: dict[str, Any]) -> None:
    """Print the epochs in which the likelihood was estimated."""
    if record.get("validation/log_likelihood") is not None:
        names = ("epoch", "seconds", "train/log_likelihood", "validation/log_likelihood", "weight/norm")
        print({name: round(record[name], 3) for name in names}, flush=True)


if __name__ == "__main__":
    main()
