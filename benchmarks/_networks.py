"""What the benchmarks of networks share: pretraining once for all, and classifiers that start from it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from _runs import gone_on, seconds_before, seconds_of

import harmonium as hm
from harmonium.models import error_rate

LAYERS = [784, 500, 500, 2000]
NAMES = ("layer", "epoch", "seconds", "train/free_energy", "train/error", "validation/error", "weight/norm")


def pretrained(
    out: str, layers: list[int], epochs: int, seed: int = 0, *, sparsity: float | None = None
) -> tuple[hm.DBN, float]:
    """Return a network pretrained on 60,000 training images without their labels, and the seconds it took.

    Bits are drawn afresh from the grey levels at each presentation, and an upper RBM is shown the means of
    the layer below, since those are what a classifier passes on. No RBM starts as the one below upside down:
    its units would give back what lies two layers below, which is good for a bound and no new feature. The
    run folder is used again if it is there, and resumed if it was interrupted.

    Arguments:
        out: The run folder.
        layers: The sizes of all layers, from the visible one up.
        epochs: Of each RBM.
        seed: Of everything random.
        sparsity: The share of the time that a hidden unit is to be on. Offsets of centred units leave them on
            half of the time, so that nothing is centred then.
    """
    data = hm.datasets.load("mnist", validation=0)
    rule = hm.CD() if sparsity is None else hm.CD(centred=False, sparsity_target=sparsity)
    own = {} if sparsity is None else {"sparsity": sparsity}
    start = partial(
        hm.pretrain,
        hm.DBN(layers, seed=seed),
        data,
        rule,
        means=True,
        upside_down=False,
        epochs=epochs,
        batch_size=100,
        lr=0.05,
        momentum=0.9,
        weight_decay=2e-4,
        seed=seed,
    )
    settings = {"layers": layers, "epochs": epochs, "seed": seed, **own}
    history = gone_on(out, settings, data, start, show)
    model = history.model
    assert isinstance(model, hm.DBN)
    ends = {record["layer"]: record["seconds"] for record in history.records}
    return model, sum(ends.values())


def machine(run: str) -> tuple[hm.DBM, float]:
    """Return the deep Boltzmann machine of a run, and the seconds that its training took, all stages."""
    folder = Path(run)
    place = next(
        (path for path in (folder, folder / "joint") if (path / "model.safetensors").exists()), folder
    )
    model = hm.load(place / "model.safetensors")
    if not isinstance(model, hm.DBM):
        raise SystemExit(f"{run}: got a {model.kind}, expected a run of mnist_dbm.py")
    return model, seconds_before(run) + seconds_of(run)


def sizes(model: hm.DBN | hm.DBM) -> list[int]:
    """Return the sizes of all layers, from the visible one up, a label's apart."""
    if isinstance(model, hm.DBN):
        return [model.visible.size, *(rbm.hidden.size for rbm in model.rbms)]
    return [unit.size for unit in model.layers]


def wrong(model: hm.MLP, rows: torch.Tensor) -> float:
    """Return the share of rows that a classifier gets wrong, in per cent."""
    return 100 * error_rate(model, rows)


def chosen(history: hm.History) -> int:
    """Return the first epoch with the fewest wrong validation labels, which is the one that is kept."""
    return min(history.records, key=lambda record: (record["validation/error"], record["epoch"]))["epoch"]


def show(record: dict[str, Any]) -> None:
    """Print an epoch's record."""
    print({name: record[name] for name in NAMES if record.get(name) is not None}, flush=True)
