r"""Protein families: an RBM that generates one, and contacts in a fold from couplings.

``generate`` trains an RBM on PF00072 (response regulators, the published split into 60 and 40 per cent) by
persistent chains, draws as many sequences as are held out, and compares their connected correlations; the
held-out log-likelihood comes with its two ends. Beside it stands the training split against the held-out
one, which no model need exceed.

``contacts`` learns PF00014 (Kunitz domain) as a general Boltzmann machine by pseudolikelihood and as an RBM,
with sequences reweighted at 80 % identity, and ranks pairs at least five sites apart by their couplings in
the zero-sum gauge, average-product corrected. Of the first 53 pairs, those under 8 Angstrom count as right.

    python benchmarks/proteins.py generate
    python benchmarks/proteins.py contacts
"""

from __future__ import annotations

import argparse
import gzip
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium import metrics
from harmonium.models import effective_couplings

FOLDER = Path(os.environ.get("HARMONIUM_DATA", "data")) / "proteins"
STATES, SITES, THRESHOLD = 21, 53, 8.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("part", choices=("generate", "contacts"))
    parser.add_argument("--hidden", type=int, help="hidden units; 200 to generate, 100 for contacts")
    parser.add_argument("--epochs", type=int, help="of the RBM, 60 by default")
    parser.add_argument("--lr", type=float, help="of the RBM; 0.05 to generate, 0.1 for contacts")
    parser.add_argument("--steps", type=int, default=2, help="Gibbs steps of an update of the RBM")
    parser.add_argument("--sweeps", type=int, default=2000, help="Gibbs steps of generated sequences")
    parser.add_argument("--runs", type=int, default=200, help="annealing runs")
    parser.add_argument("--betas", type=int, default=3000, help="steps of an annealing run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    (generate if args.part == "generate" else fold)(args)


def generate(args: argparse.Namespace) -> None:
    """Train on one split, and compare what is generated with the other."""
    train, _ = hm.datasets.read_fasta(FOLDER / "PF00072_train=0.6.fasta.gz")
    test, _ = hm.datasets.read_fasta(FOLDER / "PF00072_test=0.4.fasta.gz")
    model = hm.RBM(hm.Categorical(train.shape[1], STATES), args.hidden or 200, seed=args.seed)
    seconds, history = fitted(model, train, args, args.lr or 0.05)
    began = time.monotonic()
    start = train[hm.Stream(args.seed, "start").permutation(len(train))[: len(test)]]
    found = hm.sample(model, len(start), steps=args.sweeps, start=start, seed=args.seed)
    drawn = time.monotonic() - began
    triplets = metrics.sample_triplets(train.shape[1], 200, args.seed)
    rows = [
        {"what": name, **compared(codes, test, triplets)}
        for name, codes in (("generated", found), ("training split", train))
    ]
    keep(None, "PF00072, correlations beside those of held-out sequences", rows)
    estimate = hm.log_partition(
        model, "bridge", runs=args.runs, betas=args.betas, chains=history.chains, seed=args.seed
    )
    likelihood = hm.log_likelihood(model, test, log_partition=estimate)
    rows[0] |= {
        "log-likelihood": likelihood.mean,
        "lower": likelihood.lower,
        "upper": likelihood.upper,
        "standard error": likelihood.standard_error,
        "training s": seconds,
        "sampling s": drawn,
    }
    rows[1] |= dict.fromkeys(rows[0].keys() - rows[1].keys(), "")
    keep(args.table, "PF00072: generated against held-out sequences, nats per sequence", rows)


def compared(codes: Tensor, test: Tensor, triplets: Tensor) -> dict[str, float]:
    """Return how the statistics of sequences follow those of the held-out ones; no site with itself."""
    off = ~torch.eye(test.shape[1], dtype=torch.bool)
    one, two, three = (
        metrics.agreement(statistic(test), statistic(codes))
        for statistic in (
            lambda rows: metrics.one_site_frequencies(rows, STATES),
            lambda rows: metrics.connected_correlations(rows, STATES).permute(0, 2, 1, 3)[off],
            lambda rows: metrics.third_order_correlations(rows, STATES, triplets),
        )
    )
    return {
        "one site": one.pearson,
        "two sites": two.pearson,
        "slope of two": two.slope,
        "three sites": three.pearson,
        "slope of three": three.slope,
    }


def fold(args: argparse.Namespace) -> None:
    """Learn couplings in two ways, and compare the strongest with a structure."""
    family = hm.datasets.load(FOLDER / "PF00014_mgap6.fasta.gz", reweight=0.8, validation=0, test=0)
    apart = distances()
    potts = hm.BoltzmannMachine(hm.Categorical(SITES, STATES))
    began = time.monotonic()
    hm.fit(
        potts,
        family,
        hm.Pseudolikelihood(),
        epochs=5,
        batch_size=500,
        lr=0.01,
        weight_decay=0.01,
        seed=args.seed,
    )
    rows = [ranked("Boltzmann machine, pseudolikelihood", potts, apart, time.monotonic() - began)]
    keep(None, "PF00014: contacts by pseudolikelihood", rows)
    rbm = hm.RBM(hm.Categorical(SITES, STATES), args.hidden or 100, seed=args.seed)
    seconds, _ = fitted(rbm, family, args, args.lr or 0.1)
    rows.append(ranked("RBM, persistent chains", rbm, apart, seconds))
    keep(args.table, f"PF00014: precision of the first {SITES} pairs", rows)


def ranked(name: str, model: Any, apart: Tensor, seconds: float) -> dict[str, Any]:
    """Return how many of the first pairs are in contact."""
    pairs = metrics.contacts(effective_couplings(model), separation=5)
    shares = {f"top {n}": metrics.contact_precision(pairs, apart, n, THRESHOLD) for n in (10, 26, SITES)}
    return {"model": name, **shares, "training s": seconds}


def distances() -> Tensor:
    """Return the distances of the structure's residues in Angstrom, NaN where they are unknown."""
    with gzip.open(FOLDER / "PF00014_struct.dat.gz") as stream:
        table = np.loadtxt(stream)
    apart = torch.full((SITES, SITES), torch.nan, dtype=torch.float64)
    i, j = (torch.from_numpy(table[:, column]).long() - 1 for column in (0, 1))
    apart[i, j] = apart[j, i] = torch.from_numpy(table[:, 3])
    return apart


def fitted(model: hm.RBM, data: Any, args: argparse.Namespace, lr: float) -> tuple[float, Any]:
    """Train an RBM by persistent chains, and return how long it took and the run's history."""
    began = time.monotonic()

    def tell(record: dict[str, Any]) -> None:
        print(f"epoch {record['epoch']}, {time.monotonic() - began:.0f} s", flush=True)

    history = hm.fit(
        model,
        data,
        hm.PCD(steps=args.steps, chains=500),
        epochs=args.epochs or 60,
        batch_size=500,
        lr=lr,
        weight_decay=1e-4,
        seed=args.seed,
        callback=tell,
    )
    return time.monotonic() - began, history


if __name__ == "__main__":
    main()
