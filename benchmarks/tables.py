"""How many rows of a table a second are learnt from, described, scored and filled in, and in what memory.

The table has ten columns, five of numbers, and lacks one cell in a hundred; the model has 50 hidden
units, and there is one thread. Training is one epoch by the command line, with ``--memory`` under a limit
of what the process has for itself: what it maps from the disk does not count. With ``--kills`` the
command line scores the table once more, in processes that are killed so many times on the way, and what
it has written must be the same to the byte.

    python benchmarks/tables.py
    python benchmarks/tables.py --rows 5000000 --only score --kills 3
    python benchmarks/tables.py --rows 20000000 --only train --memory 1200
"""

from __future__ import annotations

import argparse
import csv
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

import harmonium as hm

BLOCK = 20_000
WORK = ("train", "describe", "score", "impute")


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
    """Print a line for each piece of work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--hidden", type=int, default=50)
    parser.add_argument("--only", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--memory", type=int, help="the most MiB that training may have")
    parser.add_argument("--kills", type=int, default=0, help="of processes that score the table once more")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        run, path, few, scores = (
            Path(folder, name) for name in ("run", "table.csv", "few.csv", "scores.csv")
        )
        write(path, args.rows)
        write(few, min(args.rows, BLOCK))
        data = hm.datasets.load(few)
        rbm = hm.RBM(data.schema.layer, args.hidden)
        hm.fit(rbm, data, epochs=1, batch_size=500, out=run)
        work = {
            "train": lambda: learnt(path, Path(folder, "learnt"), args.hidden, args.memory),
            "describe": lambda: hm.datasets.describe_table(path),
            "score": lambda: hm.tables.score(rbm, path, scores),
            "impute": lambda: hm.tables.impute(rbm, path, Path(folder, "filled.csv"), how="draw", draws=1),
        }
        taken = {}
        for name in args.only:
            began = time.perf_counter()
            work[name]()
            taken[name] = time.perf_counter() - began
            print(
                f"{name}: {args.rows / taken[name]:,.0f} rows/s, at most {peak():,.0f} MiB so far", flush=True
            )
        if args.kills:
            again = Path(folder, "again.csv")
            killed(run, path, again, args.kills, taken["score"])
            same = again.read_bytes() == scores.read_bytes()
            most = peak(resource.RUSAGE_CHILDREN)
            print(
                f"killed {args.kills} times: {'the same bytes' if same else 'OTHER BYTES'}, {most:,.0f} MiB"
            )


def learnt(table: Path, out: Path, hidden: int, memory: int | None) -> None:
    """Train on a table by the command line, in a process of so many MiB at most."""
    limit = [] if memory is None else ["prlimit", f"--data={memory << 20}"]
    command = [*limit, sys.executable, "-m", "harmonium", "train", "rbm", "--data", str(table)]
    settings = {"hidden": hidden, "epochs": 1, "batch_size": 500}
    pairs = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "--out", str(out), *pairs], check=True, stdout=subprocess.DEVNULL, env=one)


def killed(run: Path, table: Path, out: Path, times: int, seconds: float) -> None:
    """Score a table by processes of which all but the last are killed, each after its share of the time."""
    command = [sys.executable, "-m", "harmonium", "score", str(run), str(table), "--out", str(out)]
    for number in range(times):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(seconds / (times + 1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        parts = sorted(
            f"{file.name} of {file.stat().st_size:,} bytes" for file in out.parent.glob(f"{out.name}*")
        )
        print(f"process {number + 1} ended by {process.returncode}: {', '.join(parts)}", flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def peak(whose: int = resource.RUSAGE_SELF) -> float:
    """Return the most memory that a process had, or the largest of its children, in MiB."""
    return resource.getrusage(whose).ru_maxrss / 1024


if __name__ == "__main__":
    main()
