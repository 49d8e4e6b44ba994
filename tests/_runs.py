"""Small runs, and what it means that two of them are the same."""

import json
from pathlib import Path

import torch

import harmonium as hm

CLOCK = ("seconds", "epoch_seconds")
SMALL = {"epochs": 4, "batch_size": 16, "seed": 3, "probe": 20}


def bits(rows=40, columns=6, seed=0):
    """Return random bits in which neighbours agree more often than not."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(rows, columns, generator=generator) < 0.4
    x[:, 1::2] ^= x[:, ::2] & (torch.rand(rows, columns // 2, generator=generator) < 0.8)
    return x.to(torch.uint8)


def train(data=None, model=None, rule=None, **options):
    """Train a small model on small data, and return the history."""
    model = hm.RBM(6, 4) if model is None else model
    data = bits() if data is None else data
    return hm.fit(model, data, rule or hm.PCD(chains=10), **{**SMALL, **options})


def timeless(records):
    """Return records without what the clock says."""
    return [{k: v for k, v in record.items() if k not in CLOCK} for record in records]


def log(folder):
    """Return the records of a run folder, without what the clock says."""
    return timeless(map(json.loads, (Path(folder) / "metrics.jsonl").read_text().splitlines()))


def back_to(folder, updates):
    """Make a finished run look as if it had been killed after a number of updates."""
    for path in (Path(folder) / "checkpoints").iterdir():
        if int(path.stem) > updates:
            path.unlink()
    (Path(folder) / "model.safetensors").unlink()


def equal(first, second):
    """Return whether two dictionaries of tensors have the same names, types and bits."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


def same(first, second):
    """Return whether two histories are of the same run, bit for bit."""
    chains = (first.chains, second.chains)
    return (
        equal(first.model.state_dict(), second.model.state_dict())
        and timeless(first.records) == timeless(second.records)
        and (chains == (None, None) or torch.equal(*chains))
    )
