r"""Protein families: an RBM that generates one, and contacts in a fold from couplings.

``generate`` trains an RBM on PF00072 (response regulators, the published split into 60 and 40 per cent) by
persistent chains, draws as many sequences as are held out, and compares their connected correlations; the
held-out log-likelihood comes with its two ends. Beside it stands the training split against the held-out
one, which no model need exceed. With ``--others`` the rbms package, where it is installed, trains its Potts
RBM for as many seconds as ours took, with as many hidden units, rows, chains and Gibbs steps; sequences and
likelihoods of both come from our sampler and our annealing.

``contacts`` learns PF00014 (Kunitz domain) as a general Boltzmann machine by pseudolikelihood and as an RBM,
with sequences reweighted at 80 % identity, and ranks pairs at least five sites apart by their couplings in
the zero-sum gauge, average-product corrected. Of the first 53 pairs, those under 8 Angstrom count as right.

    python benchmarks/proteins.py generate
    pip install -c constraints.txt '.[benchmark]'
    python benchmarks/proteins.py generate --others
    python benchmarks/proteins.py contacts
"""

from __future__ import annotations

import argparse
import copy
import gzip
import importlib.metadata
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium import metrics
from harmonium.models import effective_couplings

FOLDER = Path(os.environ.get("HARMONIUM_DATA", "data")) / "proteins"
STATES, SITES, THRESHOLD = 21, 53, 8.0
BATCH = 500


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
    parser.add_argument("--others", action="store_true", help="generate by the rbms package too")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    (generate if args.part == "generate" else fold)(args)


class Trained(NamedTuple):
    """A model that has been trained, its persistent chains, and what that took."""

    name: str
    model: hm.RBM
    chains: Tensor
    updates: int
    seconds: float


def generate(args: argparse.Namespace) -> None:
    """Train on one split, and compare what is generated with the other."""
    train, _ = hm.datasets.read_fasta(FOLDER / "PF00072_train=0.6.fasta.gz")
    test, _ = hm.datasets.read_fasta(FOLDER / "PF00072_test=0.4.fasta.gz")
    model = hm.RBM(hm.Categorical(train.shape[1], STATES), args.hidden or 200, seed=args.seed)
    seconds, history = fitted(model, train, args, args.lr or 0.05)
    updates = history.records[-1]["updates"]
    trained = [Trained("harmonium", model, history.chains, updates, seconds)]
    if args.others:
        trained += others(model, train, args, seconds)
    triplets = metrics.sample_triplets(train.shape[1], 200, args.seed)
    start = train[hm.Stream(args.seed, "start").permutation(len(train))[: len(test)]]
    rows = [generated(run, start, test, triplets, args) for run in trained]
    split = {"what": "training split", **compared(train, test, triplets)}
    keep(None, "PF00072, correlations beside those of held-out sequences", filled(rows, split))
    for row, run in zip(rows, trained, strict=True):
        row |= likelihood(run, test, args)
    title = "PF00072: generated against held-out sequences, nats per sequence"
    keep(args.table, title, filled(rows, split))


def filled(rows: list[dict[str, Any]], last: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows and one more, which is empty where it lacks a column."""
    return [*rows, dict.fromkeys(rows[0], "") | last]


def generated(
    run: Trained, start: Tensor, test: Tensor, triplets: Tensor, args: argparse.Namespace
) -> dict[str, Any]:
    """Return how sequences of a model follow the held-out ones."""
    began = time.monotonic()
    found = hm.sample(run.model, len(start), steps=args.sweeps, start=start, seed=args.seed)
    drawn = time.monotonic() - began
    return {
        "what": run.name,
        **compared(found, test, triplets),
        "updates": run.updates,
        "training s": run.seconds,
        "sampling s": drawn,
    }


def likelihood(run: Trained, test: Tensor, args: argparse.Namespace) -> dict[str, float]:
    """Return the held-out log-likelihood of a model with its two ends."""
    estimate = hm.log_partition(
        run.model, "bridge", runs=args.runs, betas=args.betas, chains=run.chains, seed=args.seed
    )
    found = hm.log_likelihood(run.model, test, log_partition=estimate)
    return {
        "log-likelihood": found.mean,
        "lower": found.lower,
        "upper": found.upper,
        "standard error": found.standard_error,
    }


def others(model: hm.RBM, train: Tensor, args: argparse.Namespace, seconds: float) -> list[Trained]:
    """Return the model of the other package, if that is installed."""
    try:
        return [rbms(model, train, args, seconds)]
    except ImportError as error:
        print(f"rbms is left out: {error}")
        return []


@torch.no_grad()
def rbms(model: hm.RBM, train: Tensor, args: argparse.Namespace, seconds: float) -> Trained:
    """Train the Potts RBM of the rbms package for some seconds, as its training loop does.

    What is not ours is its command line's default: plain SGD at a fixed rate along centred gradients that
    are scaled to length one, no penalty, and the zero-sum gauge after each update. Only updates take time:
    what it writes to its file at each is left out.
    """
    from rbms.parser import default_args
    from rbms.potts_bernoulli.classes import PBRBM
    from rbms.potts_bernoulli.utils import ensure_zero_sum_gauge
    from rbms.training.pcd import fit_batch_pcd

    torch.manual_seed(args.seed)
    data, weights = train.float(), torch.ones(len(train))
    peer = PBRBM.init_parameters(model.hidden.size, SimpleNamespace(data=data), data.device, data.dtype)
    ensure_zero_sum_gauge(peer)
    chains = peer.sample_state(peer.init_chains(BATCH), args.steps)
    peer.init_grad()
    optimiser = torch.optim.SGD(peer.parameters(), lr=default_args["learning_rate"], maximize=True)
    updates, began = 0, time.monotonic()
    while (taken := time.monotonic() - began) < seconds:
        index = torch.randperm(len(data))[:BATCH]
        optimiser.zero_grad(set_to_none=False)
        chains, _ = fit_batch_pcd(
            batch=(data[index], weights[index]),
            parallel_chains=chains,
            params=peer,
            gibbs_steps=args.steps,
            beta=default_args["beta"],
        )
        optimiser.step()
        ensure_zero_sum_gauge(peer)
        updates += 1
    name = f"rbms {importlib.metadata.version('rbms')}"
    return Trained(name, converted(peer, model, data[:100]), chains["visible"].long(), updates, taken)


@torch.no_grad()
def converted(peer: Any, model: hm.RBM, rows: Tensor) -> hm.RBM:
    """Return a copy of our model with the other's parameters, after a look at the energies of some rows."""
    copied = copy.deepcopy(model)
    copied.weight.copy_(peer.weight_matrix.flatten(0, 1))
    copied.visible.bias.copy_(peer.vbias.flatten())
    copied.hidden.bias.copy_(peer.hbias)
    energies = peer.compute_energy_visibles(rows)
    torch.testing.assert_close(copied.free_energy(rows).to(energies), energies, rtol=0.0, atol=0.05)
    return copied


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
        hm.PCD(steps=args.steps, chains=BATCH),
        epochs=args.epochs or 60,
        batch_size=BATCH,
        lr=lr,
        weight_decay=1e-4,
        seed=args.seed,
        callback=tell,
    )
    return time.monotonic() - began, history


if __name__ == "__main__":
    main()
