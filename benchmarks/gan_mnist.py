"""Adversarial networks on MNIST or Fashion-MNIST at equal wall clock, by one protocol.

Three presets of the library (perceptrons as in 2014, DCGAN, and the modern one) and, in the same run, the
networks and settings of the public PyTorch DCGAN example and of WGAN-GP, re-created from their published
hyper-parameters and trained by the same loop, each for ``--minutes`` of training, checkpoints included, with
a look at ``--looks`` on the way. As many samples of each are held against the test images: on features of a
classifier trained on the data set, and of five random nets. Each seed has its own classifier and nets, so
that it repeats all of it: compare its rows with the floor of the same seed alone. The library's own samples
are of the averaged generator; those of the others of the raw one, as their authors have it. Run it alone:
what else the machine does is taken from somebody's minutes. Needs the data set's files (see docs/data.md).

    python benchmarks/gan_mnist.py --out FOLDER --table gans.md
    python benchmarks/gan_mnist.py --out FOLDER --data fashion-mnist --table fashion.md
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from _games import OTHERS
from _runs import played, settings_of
from _table import keep

import harmonium as hm
from harmonium.plots import save_grid

OWN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mlp": ({"loss": "nonsaturating"}, {"lr": 2e-4, "batch_size": 100}),
    "dcgan": ({"loss": "nonsaturating"}, {}),
    "modern": ({"loss": "relativistic"}, {}),
}
"""Arguments of the rule and options of the fit, by the network's name."""
MEASURED = (
    "frechet",
    "kernel",
    "random_frechet",
    "random_kernel",
    "precision",
    "recall",
    "density",
    "coverage",
    "class_kl",
    "memorised",
)
SHOWN = 100
EPOCHS = 10_000
"""More than there is time for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", required=True, help="a folder of run folders; those that are there go on")
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--networks", nargs="+", choices=[*OWN, *OTHERS], default=[*OWN, *OTHERS])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--looks", type=float, nargs="*", default=[3.0], help="minutes of earlier looks")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--n", type=int, default=10_000, help="samples of each")
    parser.add_argument("--pictures", help="write samples of each to PNG files in this folder")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    data = hm.datasets.load(args.data, binarisation="none")
    rows: list[dict[str, Any]] = []
    for seed in range(args.seed, args.seed + args.seeds):
        for name in args.networks:
            rows += trial(args, name, seed, data, first=name == args.networks[0])
    keep(args.table, f"{args.n:,} samples against as many test images of {args.data}, in grey", rows)


def trial(
    args: argparse.Namespace, name: str, seed: int, data: hm.Dataset, first: bool
) -> list[dict[str, Any]]:
    """Train a network for its minutes, and return its rows of the table, one for each look."""
    out = Path(args.out) / f"{args.data}-{name.replace(' ', '-').lower()}-{seed}"
    found = []
    for minutes in [*sorted(args.looks), args.minutes]:
        history = go_on(args, name, seed, data, out, minutes)
        measured = hm.measure_samples(history.model, data, n=args.n, seed=seed, features_seed=seed)
        last = history.records[-1]
        about = {"minutes": last["seconds"] / 60, "epochs": last["epoch"], "seed": seed}
        about["weights"] = "raw" if name in OTHERS else "averaged"
        values = {"samples": {"network": name, **about}}
        if first and not found:
            none = {**dict.fromkeys(about, ""), "seed": seed}
            values["floor"] = {"network": "training images", **none}
            values["ceiling"] = {"network": "independent pixels", **none}
        rows = [
            {**own, **{key: measured.rows[row].get(key, "") for key in MEASURED}}
            for row, own in values.items()
        ]
        print(rows[0], flush=True)
        found += rows
        if args.pictures:
            Path(args.pictures).mkdir(parents=True, exist_ok=True)
            made = hm.sample(history.model, SHOWN, seed=seed)[:, : data.columns]
            path = Path(args.pictures) / f"{out.name}-{minutes:g}.png"
            save_grid(made, data.shape, path, limits=(0.0, 1.0), overwrite=True)
    return found


def go_on(
    args: argparse.Namespace, name: str, seed: int, data: hm.Dataset, out: Path, minutes: float
) -> hm.History:
    """Train until so many minutes are over, from where a run is."""

    if name in OTHERS:
        make, game, options = OTHERS[name]
    else:
        game, options = OWN[name]
        make = partial(hm.GAN.of, name, (1, *data.shape[-2:]))
    model, rule = make(seed=seed), hm.Adversarial(**game)
    but = ("networks", "minutes", "looks", "seeds", "seed", "n", "pictures")
    settings = settings_of(args, *but) | {"network": name, "game": game, "options": options, "of": seed}
    start = partial(hm.fit, model, data, rule, epochs=EPOCHS, seed=seed, **options)
    own = {"model": model} if name in OTHERS else {}
    return played(out, settings, data, start, minutes, **own)


if __name__ == "__main__":
    main()
