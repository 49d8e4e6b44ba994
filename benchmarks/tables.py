"""How many rows of a table a second are described, scored and filled in, on one thread, and in what memory.

The table has ten columns, five of numbers, and lacks one cell in a hundred; the model has 50 hidden units.
"""

from __future__ import annotations

import argparse
import csv
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import harmonium as hm

BLOCK = 20_000


def write(path: Path, rows: int) -> None:
    """Write a made table."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"column {i}" for i in range(10)])
        for first in range(0, rows, BLOCK):
            writer.writerows(zip(*made(min(BLOCK, rows - first), first), strict=True))


def made(rows: int, seed: int) -> list[np.ndarray]:
    """Return the columns of some rows."""
    rng = np.random.default_rng(seed)
    numbers = [rng.normal(scale=10.0**i, size=rows).round(4).astype(str) for i in range(5)]
    words = [rng.choice([f"level {i}" for i in range(n)], rows) for n in (3, 6, 16, 40)]
    columns = [*numbers, *words, rng.choice(["true", "false"], rows)]
    for i, column in enumerate(columns):
        columns[i] = np.where(rng.random(rows) < 0.01, "", column)
    return columns


def main() -> None:
    """Print a line for each of the three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--hidden", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        path, few = Path(folder, "table.csv"), Path(folder, "few.csv")
        write(path, arguments.rows)
        write(few, min(arguments.rows, BLOCK))
        data = hm.datasets.load(few)
        rbm = hm.RBM(data.schema.layer, arguments.hidden)
        hm.fit(rbm, data, epochs=1, batch_size=500)
        work = {
            "describe": lambda: hm.datasets.describe_table(path),
            "score": lambda: hm.tables.score(rbm, path, Path(folder, "scores.csv")),
            "impute": lambda: hm.tables.impute(rbm, path, Path(folder, "filled.csv"), how="draw", draws=1),
        }
        for name, run in work.items():
            began = time.perf_counter()
            run()
            rate = arguments.rows / (time.perf_counter() - began)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"{name}: {rate:,.0f} rows/s, at most {peak:,.0f} MiB so far", flush=True)


if __name__ == "__main__":
    main()
