"""Fits of small machines to a corner of real data, judged by their exact likelihood."""

from functools import cache

import numpy as np
import torch
from _models import STATES, unit
from sklearn.datasets import load_digits

import harmonium as hm

SIDE = slice(2, 5)
HIDDEN = 4
CONTINUOUS = ("gaussian", "relu")
FEW = 6
RATES = {"gaussian": 0.02, "spin": 0.05}
KINDS = ("bernoulli", "spin", "categorical", "gaussian")
PAIRS = [(v, h) for v in KINDS for h in (*KINDS, "relu") if v != "gaussian" or h not in CONTINUOUS]


@cache
def grey():
    """Return the middle of 600 digits, nine grey values in [0, 1] each."""
    images = load_digits().images[:600, SIDE, SIDE]
    return (images.reshape(len(images), -1) / 16).astype(np.float32)


def rows_of(kind):
    """Return the rows as values that a type of units takes."""
    x = grey()
    if kind == "gaussian":
        return torch.from_numpy((x - x.mean(0)) / x.std(0))
    if kind == "categorical":
        return torch.from_numpy((x * STATES).clip(max=STATES - 1).astype(np.int64))
    bits = torch.from_numpy((x > 0.5).astype(np.int64))
    return 2 * bits - 1 if kind == "spin" else bits


def small(pair):
    """Return a fresh machine for the rows, and the rows; fewer columns where they are to be enumerated."""
    rows = rows_of(pair[0])
    if pair[1] in CONTINUOUS:
        rows = rows[:, :FEW]
    return hm.RBM(unit(pair[0], rows.shape[1]), unit(pair[1], HIDDEN), seed=1), rows


def loss(model, rows):
    """Return the exact mean negative log-likelihood, nats per row."""
    return -hm.log_likelihood(model, rows, method="exact").mean


def fits(rule, pair, rows=None, **options):
    """Return the exact loss of a fresh machine with the data's base rates, and that after a fit."""
    model, own = small(pair)
    rows = own if rows is None else rows
    hm.fit(model, rows, rule, epochs=0)
    before = loss(model, rows)
    rate = min(RATES.get(kind, 0.15) for kind in pair)
    hm.fit(model, rows, rule, **{"epochs": 20, "batch_size": 50, "lr": rate, "momentum": 0.9, **options})
    return before, loss(model, rows)
