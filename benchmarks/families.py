"""Samples of five families on MNIST by one protocol, in two tables: as bits, and in grey.

Takes the run folders of models of any family: a general or restricted Boltzmann machine, a belief network, a
deep Boltzmann machine, an adversarial network. As many samples of each are held against the same test digits.
(i) Everything as bits: what a machine draws, and grey images turned into bits like the data's own. (ii)
Everything in grey: a machine's means p(v given h) of its last step, and what a generator makes, against
grey images. Chains start where training left them, if it left some, and go on for ``--steps`` steps. The
floor is training digits in place of samples, the ceiling digits of independent pixels: no number means
anything without them. Needs the MNIST files (see docs/data.md).

    python benchmarks/families.py --runs RBM DBN/ DBM GAN --table families.md --pictures FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium.plots import save_grid
from harmonium.report import draw, open_run

MEASURED = (
    "frechet",
    "kernel",
    "random_frechet",
    "precision",
    "recall",
    "density",
    "coverage",
    "classifier",
    "neighbours",
    "class_kl",
    "memorised",
)
SHOWN = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", nargs="+", required=True, help="run folders")
    parser.add_argument("--n", type=int, default=10_000, help="samples of each")
    parser.add_argument("--steps", type=int, default=1000, help="Gibbs steps of each chain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", help="write samples of each to PNG files in this folder")
    parser.add_argument("--table", help="write the tables to this Markdown file and one beside it")
    args = parser.parse_args()

    bits = hm.datasets.load("mnist")
    grey = hm.datasets.load("mnist", binarisation="none")
    tables: dict[str, dict[str, dict[str, Any]]] = {"bits": {}, "grey": {}}
    for path in args.runs:
        name, weights, made, means = drawn(args, path)
        if name in tables["bits"]:
            raise SystemExit(f"--runs: got two that are called {name}; rename one of the folders")
        for table, data, rows in (("bits", bits, made), ("grey", grey, means)):
            found = hm.measure_samples(rows, data, n=args.n, seed=args.seed, progress=print)
            own = {"floor": "training digits", "samples": name, "ceiling": "independent pixels"}
            for row, values in found.rows.items():
                kept = {"weights": weights if row == "samples" else ""}
                kept |= {key: values.get(key, "") for key in MEASURED}
                tables[table].setdefault(own[row], kept)
            print(table, name, tables[table][name], flush=True)
            if args.pictures:
                Path(args.pictures).mkdir(parents=True, exist_ok=True)
                path_of = Path(args.pictures) / f"{name.replace(',', '').replace(' ', '-')}-{table}.png"
                save_grid(rows[:SHOWN], bits.shape, path_of, limits=(0.0, 1.0), overwrite=True)
    table = None if args.table is None else Path(args.table)
    grey_path = None if table is None else str(table.with_stem(f"{table.stem}-grey"))
    for table, title, place in (("bits", "as bits", args.table), ("grey", "in grey", grey_path)):
        rows = [{"samples of": name, **values} for name, values in ordered(tables[table])]
        keep(
            place, f"{args.n:,} samples against as many test digits of MNIST, {title}, seed {args.seed}", rows
        )


def drawn(args: argparse.Namespace, path: str) -> tuple[str, str, Tensor, Tensor]:
    """Return a run's name, whether its weights are averages, its samples as bits, and in grey.

    Pixels are independent of each other given the last step's hidden units, so that coins with a machine's
    means are draws of that step; not so where pixels are coupled to each other.
    """
    run = open_run(path, hm.datasets.load("mnist", binarisation="none"), same=False)
    model = run.model
    options: dict[str, Any] = {}
    if isinstance(model, hm.GAN):
        name = "gan"
    else:
        sizes = "-".join(str(unit.size) for unit in layers(model))
        name = f"{model.kind} {sizes}"
        options = {"from_chains": run.chains is not None, "steps": args.steps}
    means = draw(run, args.n, seed=args.seed, means=True, **options)[:, : run.data.columns]
    if isinstance(model, hm.BoltzmannMachine) and model.lateral("visible") is not None:
        made = draw(run, args.n, seed=args.seed, **options)[:, : run.data.columns]
    else:
        made = (hm.Stream(args.seed, "bits").uniform(*means.shape) < means).float()
    return f"{name}, {Path(path).name}", run.weights, made, means


def layers(model: Any) -> list[Any]:
    """Return the layers of a machine from the visible one up."""
    if isinstance(model, (hm.DBN, hm.DBM)):
        return [*model.layers]
    return [model.layer(block) for block in model.outward(("visible",))]


def ordered(table: dict[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a table, the floor first and the ceiling last."""
    first, last = "training digits", "independent pixels"
    others = [name for name in table if name not in (first, last)]
    return [(name, table[name]) for name in (first, *others, last)]


if __name__ == "__main__":
    main()
