"""The memory that training takes: the data at one byte a pixel, and a fixed sum that they do not move."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")
ROWS, SHAPE = 60_000, (28, 28)
ALLOWANCE = 300e6
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
