"""The memory that training takes: the data at one byte a pixel, or none for a table, and a fixed sum."""

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
ROWS, SHAPE = 60_000, (28, 28)
ALLOWANCE = 300e6
LINES, COLUMNS = 60_000, 60
ROOM = LINES * COLUMNS * 5 // 2
"""Bytes for a table that takes eight a cell while it is read, and four as rows."""
PROGRAM = f"""
    import json, sys
    from pathlib import Path
    import numpy as np
    import torch
    import harmonium as hm

    torch.set_num_threads(1)

    def peak():
        lines = Path("{STATUS}").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))

    def run(folder, rows):
        some = np.random.default_rng(0).integers(0, 256, (rows // 100, *{SHAPE}), np.uint8)
        grey = np.tile(some, (100, 1, 1))
        data = hm.datasets.from_array(grey, validation=grey[:2000].copy(), binarisation="sampled")
        return hm.fit(
            hm.RBM(data.train.shape[1], 64),
            data,
            hm.PCD(chains=500),
            epochs=1,
            batch_size=3000,
            likelihood_every=1,
            likelihood={{"runs": 50, "betas": 50, "equilibrate": 20}},
            samples_every=1,
            patience=5,
            init="pca",
            out=folder,
        )

    run(sys.argv[1], 3000)
    Path("{RESET}").write_text("5")
    before = peak()
    history = run(sys.argv[2], {ROWS})
    print(json.dumps([before, peak(), len(history.records), history.records[-1]["updates"]]))
"""

TABLE = f"""
    import json, resource, sys
    from pathlib import Path
    import torch
    import harmonium as hm
    from harmonium.cli import main
    from harmonium.datasets import _spare, _tables

    torch.set_num_threads(1)
    _tables.BLOCK, hm.random._PART = 500, 4096
    columns = {{"*": "quantile", "c1": "log-standardise", "c2": "standardise"}}

    def command(*words):
        try:
            main([*words])
        except SystemExit as error:
            if error.code:
                raise MemoryError from error

    def run(path, folder):
        how = [part for item in columns.items() for part in ("--column", "=".join(item))]
        pairs = ["hidden=8", "batch_size=1000", "epochs=1", "rule.chains=50"]
        settings = [part for pair in pairs for part in ("--set", pair)]
        command("train", "rbm", "--data", path, "--out", folder, *how, *settings)
        few = ["--from", "data", "--rows", "600", "--steps", "2", "--out", folder + "/made.csv"]
        command("sample", folder, *few)
        data = hm.datasets.load(path, columns=columns)
        found = hm.log_likelihood(hm.load(Path(folder) / "model.safetensors"), data)
        return [len(data.train), data.columns, hm.datasets.summary(data)["gaps"], found.mean]

    run(sys.argv[1], sys.argv[2] + "/first")
    lines = Path("{STATUS}").read_text().splitlines()
    own = next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (own + {ROOM}, own + {ROOM}))
    limit, _spare.LIMIT = _spare.LIMIT, 1 << 20
    found = run(sys.argv[3], sys.argv[2] + "/disk")
    _spare.LIMIT = limit
    try:
        run(sys.argv[3], sys.argv[2] + "/memory")
    except (MemoryError, RuntimeError):
        print(json.dumps(found))
"""


@pytest.mark.skipif(not RESET.exists(), reason="the peak of a process is read and reset in Linux's /proc")
def test_training_takes_the_data_and_little_else(tmp_path):
    # The first run may compile the kernels, which takes memory that later ones do not need.
    folders = [str(tmp_path / name) for name in ("first", "run")]
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(PROGRAM), *folders]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    before, after, epochs, updates = json.loads(printed)
    assert (epochs, updates) == (1, 20)
    for part in ("checkpoints/000000020.safetensors", "metrics.jsonl", "samples/epoch-00001.png"):
        assert (tmp_path / "run" / part).exists()
    data = ROWS * SHAPE[0] * SHAPE[1]
    assert data < after - before < data + ALLOWANCE


@pytest.mark.skipif(sys.platform != "linux", reason="what a process takes is limited by Linux's RLIMIT_DATA")
def test_a_table_that_does_not_fit_into_memory_is_learnt_from(tmp_path):
    rng = np.random.default_rng(0)
    cells = rng.integers(2, 10, (LINES, COLUMNS)).astype("U1")
    cells[rng.random(cells.shape) < 0.01] = ""
    head = ",".join(f"c{column}" for column in range(COLUMNS))
    paths = [tmp_path / "few.csv", tmp_path / "many.csv"]
    for path, rows in zip(paths, (2000, LINES), strict=True):
        path.write_text("\n".join([head, *map(",".join, cells[:rows])]) + "\n")
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(TABLE), paths[0], tmp_path, paths[1]]
    cache = {"HARMONIUM_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **cache})
    assert done.returncode == 0, done.stderr
    rows, columns, gaps, likelihood = json.loads(done.stdout.splitlines()[-1])
    assert (rows, columns) == (0.8 * LINES, COLUMNS)
    assert gaps == pytest.approx((cells == "").mean())
    assert -100 < likelihood < -70
    assert (tmp_path / "disk" / "model.safetensors").exists()
    assert not list((tmp_path / "cache").glob("tmp*"))
