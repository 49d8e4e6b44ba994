"""Colour photographs, 64 x 64, from a folder and from an LMDB database of the same images.

The photographs of a folder (TensorFlow's flower_photos, say; sub-folders train and test are its splits) are
cropped about their centres, resized, and learned by a DCGAN without normalisation in its discriminator, by
the nonsaturating loss, with horizontal flips and changed images, for ``--minutes`` of training. ``--lmdb``
writes the same images into a database first, as LSUN's are laid out, unless it is there, and learns from it.
The table has the measures of the samples with their floor and ceiling, on features of random nets (and of a
classifier where sub-folders are classes), and the most memory that the process has taken.

    python benchmarks/flowers.py --data PHOTOS --out RUN --picture flowers.png --table flowers.md
    python benchmarks/flowers.py --data PHOTOS --lmdb DATABASE --out RUN2 --table lmdb.md
"""

from __future__ import annotations

import argparse
import resource
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from _runs import played, settings_of
from _table import keep

import harmonium as hm
from harmonium.plots import save_grid

SHOWN = 64
EPOCHS = 100_000
"""More than there is time for."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
AUGMENT = ("colour", "translation", "cutout")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder of photographs")
    parser.add_argument("--lmdb", help="a database of them, made if it is not there, to learn from")
    parser.add_argument("--out", required=True, help="the run folder; resumed if it exists")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--network", default="dcgan")
    parser.add_argument("--width", type=int, help="the network's own by default")
    parser.add_argument("--normalisation", default="none", help="of a DCGAN's discriminator")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--loss", default="nonsaturating")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validate", action="store_true", help="measure by validation rows, not test rows")
    parser.add_argument("--picture", help="write samples to this PNG")
    parser.add_argument("--table", help="write the table to this Markdown file")
    args = parser.parse_args()

    source = args.data
    if args.lmdb is not None:
        source = args.lmdb
        if not Path(source).exists():
            write_database(Path(args.data), Path(source))
    how: dict[str, Any] = {"binarisation": "none", "flip": True, "seed": args.seed}
    data = hm.datasets.load(source, size=args.size, channels=3, **how)
    history = train(args, data)
    held = replace(data, test=data.validation) if args.validate else data
    measured = hm.measure_samples(history.model, held, seed=args.seed, progress=print)
    if args.picture:
        made = hm.sample(history.model, SHOWN, seed=args.seed)
        save_grid(made, data.shape, args.picture, limits=(0.0, 1.0), overwrite=True)
    names = {"floor": "training photographs", "ceiling": "independent pixels"}
    kept = [name for name in measured.samples if not name.endswith(("_error", "_p", "_deviation"))]
    rows = [
        {"": names.get(row, row), **{k: own.get(k, "") for k in kept}} for row, own in measured.rows.items()
    ]
    last = history.records[-1]
    gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    title = (
        f"{len(data.train):,} photographs of {data.name}, {args.size} x {args.size}, {measured.n:,} samples, "
    )
    title += f"seed {args.seed}, averaged weights: "
    title += f"{last['seconds'] / 60:.1f} minutes, {last['epoch']} epochs, at most {gib:.2f} GiB of memory"
    keep(args.table, title, rows)


def train(args: argparse.Namespace, data: hm.Dataset) -> hm.History:
    """Train the network for its minutes, or go on with it."""

    own = {"width": args.width} if args.width else {}
    own |= {"normalisation": args.normalisation} if args.network == "dcgan" else {}
    start = partial(
        hm.fit,
        hm.GAN.of(args.network, data.shape, seed=args.seed, **own),
        data,
        hm.Adversarial(loss=args.loss, augment=AUGMENT),
        epochs=EPOCHS,
        batch_size=args.batch_size,
        lr=args.lr,
        samples_every=10,
        seed=args.seed,
    )
    return played(args.out, settings_of(args, "minutes", "validate", "picture"), data, start, args.minutes)


def write_database(photos: Path, out: Path) -> None:
    """Write the files of a folder into an LMDB database, by their paths."""
    import lmdb

    files = sorted(path for path in photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    size = 2 * sum(path.stat().st_size for path in files) + (1 << 24)
    with lmdb.open(str(out), map_size=size) as environment, environment.begin(write=True) as transaction:
        for path in files:
            transaction.put(str(path.relative_to(photos)).encode(), path.read_bytes())


if __name__ == "__main__":
    main()
