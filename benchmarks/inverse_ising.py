r"""The inverse Ising problem: couplings of a lattice from samples, by pseudolikelihood.

Spins on a periodic 8 x 8 lattice, E = -sum J s s over neighbours with J = 0.4407, near the critical point of
the infinite lattice. The samples come from the library's own sampler, far enough apart to be nearly
independent; all 2016 pairs are then learnt as couplings. Standard errors are those of the estimator's
sandwich covariance, :math:`H^{-1} V H^{-1} / n`, with the samples' autocorrelation taken into n.

    python benchmarks/inverse_ising.py
"""

from __future__ import annotations

import argparse
import math
import time

import torch
from _table import keep
from torch import Tensor

import harmonium as hm
from harmonium.models import lattice
from harmonium.samplers import autocorrelation_time

SIDE, COUPLING = 8, 0.4407
N = SIDE * SIDE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--chains", type=int, default=1000)
    parser.add_argument("--apart", type=int, default=200, help="sweeps between samples of a chain")
    parser.add_argument("--burn", type=int, default=5000, help="sweeps before the first sample")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--threshold", type=float, default=COUPLING / 2, help="what an edge exceeds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    truth = hm.BoltzmannMachine(hm.Spin(N), visible_edges=lattice((SIDE, SIDE)))
    edges = truth.visible_mask + truth.visible_mask.T
    truth.set_lateral("visible", COUPLING * edges)
    began = time.monotonic()
    spins, sweep_time = draw(truth, args)
    drawn = time.monotonic() - began

    model = hm.BoltzmannMachine(hm.Spin(N))
    began = time.monotonic()
    hm.fit(
        model,
        spins,
        hm.Pseudolikelihood(),
        epochs=args.epochs,
        batch_size=1000,
        optimizer="Adam",
        lr=0.02,
        seed=args.seed,
    )
    took = time.monotonic() - began
    found, true = pairs(model.lateral("visible").detach()), pairs(COUPLING * edges)
    error = standard_errors(model, spins) * math.sqrt(max(sweep_time / args.apart, 1.0))
    z = (found - true) / error
    is_edge = true > 0
    row = {
        "samples": len(spins),
        "autocorrelation (sweeps)": sweep_time,
        "sweeps apart": args.apart,
        "sampling s": drawn,
        "fit s": took,
        "mean coupling of edges": float(found[is_edge].mean()),
        "mean standard error": float(error.mean()),
        "largest |z|": float(z.abs().max()),
        "|z| above 4": int((z.abs() > 4).sum()),
        "rms z": float(z.square().mean().sqrt()),
        "threshold": args.threshold,
        "false edges": int((found[~is_edge] > args.threshold).sum()),
        "missed edges": int((found[is_edge] <= args.threshold).sum()),
        "largest non-edge": float(found[~is_edge].abs().max()),
        "smallest edge": float(found[is_edge].min()),
    }
    keep(args.table, f"Inverse Ising, {SIDE} x {SIDE} periodic, J = {COUPLING}, by pseudolikelihood", [row])


def draw(model: hm.BoltzmannMachine, args: argparse.Namespace) -> tuple[Tensor, float]:
    """Return the samples, and the autocorrelation time of the magnetisation's square in sweeps."""
    gibbs, stream = hm.Gibbs(), hm.Stream(args.seed, "ising")
    state = gibbs.run(model, gibbs.init(model, args.chains, stream), stream, args.burn)
    squares = []
    for _ in range(2000):
        state, _ = gibbs.step(model, state, stream)
        squares.append(state["visible"].mean(1).square())
    rows = []
    for _ in range(math.ceil(args.samples / args.chains)):
        state = gibbs.run(model, state, stream, args.apart)
        rows.append(state["visible"])
    return torch.cat(rows)[: args.samples], autocorrelation_time(torch.stack(squares))


def pairs(matrix: Tensor) -> Tensor:
    """Return the elements above the diagonal."""
    i, j = torch.triu_indices(N, N, 1)
    return matrix[i, j]


def standard_errors(model: hm.BoltzmannMachine, spins: Tensor) -> Tensor:
    """Return the couplings' standard errors, of independent samples.

    A site's log-likelihood given the others, log sigmoid(2 s_i a_i), has the gradient s_j (s_i - m_i) in its
    couplings and the Hessian -(1 - m_i^2) s_j s_k; a coupling stands in two sites.
    """
    place = torch.zeros(N, N + 1, dtype=torch.long)
    i, j = torch.triu_indices(N, N, 1)
    place[i, j] = place[j, i] = torch.arange(len(i))
    place[:, N] = len(i) + torch.arange(N)
    size = len(i) + N
    hessian = torch.zeros(size, size, dtype=torch.float64)
    square = torch.zeros_like(hessian)
    for block in spins.split(1000):
        s = block.double()
        mean = torch.tanh(model.field("visible", {"visible": block}).detach().double())
        inputs = torch.cat((s, torch.ones(len(s), 1, dtype=torch.float64)), 1)
        gradient = torch.zeros(len(s), size, dtype=torch.float64)
        for site in range(N):
            others = [k for k in range(N + 1) if k != site]
            x, where = inputs[:, others], place[site, others]
            gradient[:, where] += x * (s[:, site] - mean[:, site])[:, None]
            weight = 1 - mean[:, site].square()
            hessian[where[:, None], where] += x.T @ (x * weight[:, None])
        square += gradient.T @ gradient
    inverse = torch.linalg.inv(hessian)
    covariance = inverse @ square @ inverse
    return covariance.diagonal().sqrt()[: len(i)]


if __name__ == "__main__":
    main()
