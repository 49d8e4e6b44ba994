"""A run that was stopped, wherever and however, goes on as if nothing had happened."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from _runs import SMALL, bits, equal, log, same, timeless, train

import harmonium as hm
from harmonium import files
from harmonium.errors import ArgumentError, FileError, TrainingError
from harmonium.learning import RULES
from harmonium.models import PairwiseModel
from harmonium.training import RunFolder, changed_splits
from harmonium.training._optimiser import Optimisers

UPDATES = 12


class Cut(Exception):
    """What stops a run in these tests."""


class Cutting(hm.PCD):
    """PCD that fails at its n-th update, for the next process to go on."""

    after: int

    def update(self, model, batch, state, stream, apply):
        result = super().update(model, batch, state, stream, apply)
        object.__setattr__(self, "after", self.after - 1)
        if self.after < 0:
            raise Cut
        return result


def cut(folder, updates, data=None, chains=10, **options):
    """Train until an exception after a number of whole updates."""
    options = {"checkpoint_every": 1e-9, "keep": 3, **options}
    with pytest.raises(Cut):
        train(data, rule=Cutting(chains=chains, after=updates), out=folder, **options)
    config = json.loads((folder / "config.json").read_text())
    del config["rule"]["after"]
    (folder / "config.json").write_text(json.dumps(config))


def last(folder):
    """Return the last checkpoint, without what the clock says."""
    tensors, content = RunFolder(folder).load()
    return tensors, {k: v for k, v in content.items() if k not in ("seconds", "time", "log_size")}


def agree(first, second):
    """Assert that two run folders hold the same run."""
    ours, theirs = (files.load_tensors(f / "model.safetensors", "model") for f in (first, second))
    assert equal(ours[0], theirs[0])
    assert log(first) == log(second)
    (tensors, content), (others, other_content) = last(first), last(second)
    assert equal(tensors, others)
    assert content == other_content


OPTIONS = {
    "sgd": {},
    "without momentum": {"momentum": 0.0},
    "plain": {"momentum": 0.0, "averaging": 0.0},
    "adam": {"optimizer": "Adam", "lr": 0.01},
    "rmsprop": {"optimizer": "RMSprop", "lr": 0.01, "averaging": 0.5, "max_gradient": 0.1},
    "asgd": {"optimizer": "ASGD", "lr": 0.01, "weight_decay": 0.01},
    "nadam": {"optimizer": "NAdam", "lr": 0.01},
    "patience": {"patience": 2, "lr": 1.0, "score": "train/pseudo_likelihood"},
    "likelihood": {"likelihood_every": 2, "likelihood": {"method": "exact"}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path, options):
    whole = train(out=tmp_path / "whole", **options)
    done = whole.records[-1]["updates"]
    for after in (0, 1, 2, 3, 7, done - 1):
        folder = tmp_path / str(after)
        cut(folder, after, **options)
        assert last(folder)[1]["updates"] == after
        assert same(hm.resume(folder, bits(), keep=2, checkpoint_every=60.0), whole), after
        agree(folder, tmp_path / "whole")


@pytest.mark.parametrize("kind", ["cd", "gaussian", "spin", "categorical", "double", "grey", "weights"])
def test_other_models_and_data_go_on_too(tmp_path, kind):
    x, rule, arguments = bits(), None, {}

    def model():
        unit = {
            "gaussian": hm.Gaussian(6, learn_precision=True),
            "spin": hm.Spin(6),
            "categorical": hm.Categorical(6, 2),
        }.get(kind, hm.Bernoulli(6))
        made = hm.RBM(unit, hm.Spin(4) if kind == "gaussian" else 4, seed=8)
        return made.double() if kind == "double" else made

    if kind == "cd":
        rule = hm.CD(steps=2, centred=True)
    if kind == "gaussian":
        x = hm.Stream(3).normal(40, 6)
    if kind == "spin":
        x = 2 * x.int() - 1
    if kind == "grey":
        x = hm.datasets.from_array(100 * x.numpy() + 20, binarisation="sampled", levels=255)
    if kind == "weights":
        arguments["weights"] = torch.arange(40)
    options = {"checkpoint_every": 1e-9, "keep": 50, **arguments}
    whole = train(x, model(), rule, out=tmp_path / "whole", **options)
    for stop in (4, 6):
        folder = tmp_path / str(stop)
        train(x, model(), rule, out=folder, **options)
        back_to(folder, stop)
        again = hm.resume(folder, x, **arguments)
        assert same(again, whole)
        assert again.model.dtype == whole.model.dtype
        agree(folder, tmp_path / "whole")


def back_to(folder, updates):
    """Make a finished run look as if it had been killed after a number of updates."""
    for path in (folder / "checkpoints").iterdir():
        if int(path.stem) > updates:
            path.unlink()
    (folder / "model.safetensors").unlink()


def test_a_frozen_parameter_stays_frozen(tmp_path):
    model = hm.RBM(6, 4)
    model.visible.bias.requires_grad_(False)
    whole = train(model=model, out=tmp_path / "run", checkpoint_every=1e-9, keep=50)
    assert model.visible.bias.tolist() == [0.0] * 6
    back_to(tmp_path / "run", 5)
    again = hm.resume(tmp_path / "run", bits())
    assert same(again, whole)
    assert not again.model.visible.bias.requires_grad


@pytest.mark.parametrize("stop", [1, 2, 4])
def test_a_run_that_a_callback_stopped_goes_on(tmp_path, stop):
    whole = train(out=tmp_path / "whole")
    halted = train(out=tmp_path / "run", callback=lambda record: record["epoch"] == stop)
    assert halted.stopped == "by the callback"
    assert timeless(halted.records) == timeless(whole.records)[:stop]
    assert same(hm.resume(tmp_path / "run", bits()), whole)
    agree(tmp_path / "run", tmp_path / "whole")


def test_a_callback_that_fails_costs_nothing_but_its_epoch(tmp_path):
    def callback(record):
        if record["epoch"] == 3:
            raise Cut

    whole = train(out=tmp_path / "whole")
    with pytest.raises(Cut):
        train(out=tmp_path / "run", callback=callback)
    seen = []
    again = hm.resume(tmp_path / "run", bits(), callback=lambda record: seen.append(record["epoch"]))
    assert seen == [3, 4]
    assert same(again, whole)
    agree(tmp_path / "run", tmp_path / "whole")


def test_a_finished_run_returns_at_once(tmp_path, monkeypatch):
    whole = train(out=tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    monkeypatch.setattr(hm.PCD, "update", None)
    assert same(hm.resume(tmp_path / "run", bits()), whole)
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_a_run_that_patience_ended_is_finished(tmp_path):
    options = {"patience": 2, "lr": 3.0, "score": "train/pseudo_likelihood", "epochs": 50}
    whole = train(out=tmp_path / "run", **options)
    assert whole.stopped.startswith("no better")
    again = hm.resume(tmp_path / "run", bits())
    assert same(again, whole)
    assert again.stopped == whole.stopped
    assert len(hm.resume(tmp_path / "run", bits(), patience=5).records) > len(whole.records)


@pytest.mark.parametrize("torn", [b'{"epoch": 3, "upd', b"\x00\x00\x00", b'{"epoch": 9}\n{"ep', b""])
def test_a_torn_last_line_of_the_log_is_mended(tmp_path, torn):
    whole = train(out=tmp_path / "whole")
    train(out=tmp_path / "run", callback=lambda record: record["epoch"] == 2)
    with (tmp_path / "run" / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    assert same(hm.resume(tmp_path / "run", bits()), whole)
    agree(tmp_path / "run", tmp_path / "whole")


def test_a_damaged_line_within_the_log_is_named(tmp_path):
    train(out=tmp_path / "run")
    path = tmp_path / "run" / "metrics.jsonl"
    for damage in (b"{'epoch': 2}", b"[1, 2]", b"\xff\xfe", b"[" * 100_000):
        lines = path.read_bytes().splitlines(keepends=True)
        lines[1] = damage.ljust(len(lines[1]) - 1)[: len(lines[1]) - 1] + b"\n"
        path.write_bytes(b"".join(lines))
        with pytest.raises(
            FileError, match=r"metrics\.jsonl: line 2 is damaged, expected (a )?JSON"
        ) as caught:
            hm.resume(tmp_path / "run", bits())
        assert "\n" not in str(caught.value)
        assert path.read_bytes() == b"".join(lines), "a damaged file is left for its owner to look at"


def test_what_a_killed_process_left_half_written_goes(tmp_path):
    train(out=tmp_path / "run", callback=lambda record: record["epoch"] == 2)
    leftovers = [
        tmp_path / "run" / "checkpoints" / ".000000009.safetensors.77.tmp",
        tmp_path / "run" / "samples" / ".epoch-00002.png.77.part",
    ]
    for path in leftovers:
        path.write_bytes(b"half")
    hm.resume(tmp_path / "run", bits())
    assert not any(path.exists() for path in leftovers)


# --- options that change ------------------------------------------------------------------------


def test_more_epochs_are_remembered(tmp_path):
    whole = train(out=tmp_path / "whole", epochs=7, schedule="constant")
    train(out=tmp_path / "run", schedule="constant")
    halted = hm.resume(tmp_path / "run", bits(), epochs=7, callback=lambda record: record["epoch"] == 5)
    assert len(halted.records) == 5
    assert same(hm.resume(tmp_path / "run", bits()), whole)
    agree(tmp_path / "run", tmp_path / "whole")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config == json.loads((tmp_path / "whole" / "config.json").read_text())


@pytest.mark.parametrize(
    "change", [{"lr": 1.0}, {"momentum": 0.0}, {"weight_decay": 5.0}, {"schedule": "cosine"}]
)
def test_changed_options_are_used(tmp_path, change):
    whole = train(out=tmp_path / "whole", schedule="constant")
    train(out=tmp_path / "run", schedule="constant", callback=lambda record: record["epoch"] == 2)
    changed = hm.resume(tmp_path / "run", bits(), **change)
    assert timeless(changed.records)[:2] == timeless(whole.records)[:2]
    assert not torch.equal(changed.model.weight, whole.model.weight)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, r"^seed: got 4, expected 3, as the run began"),
        ({"batch_size": 8}, r"^batch_size: got 8, expected 16, as the run began"),
        ({"averaging": 0.5}, r"^averaging: got 0.5, expected 0.1, as the run began"),
        ({"optimizer": "Adam"}, r"^optimizer: got 'Adam', expected 'sgd', as the run began"),
        ({"epoch": 9}, r"^epoch: unknown, .*did you mean 'epochs'\?"),
        ({"lr": -1}, r"^lr: got -1, expected greater than 0"),
    ],
)
def test_options_that_cannot_change_are_refused(tmp_path, change, message):
    train(out=tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(ArgumentError, match=message):
        hm.resume(tmp_path / "run", bits(), **change)
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_functions_are_given_again(tmp_path):
    def make(groups):
        return torch.optim.Adam(groups, lr=0.02)

    given = {"optimizer": make, "schedule": lambda share: 1 - share}
    whole = train(out=tmp_path / "whole", **given)
    train(out=tmp_path / "run", callback=lambda record: record["epoch"] == 2, **given)
    with pytest.raises(FileError, match=r"was given a function as optimizer, schedule, .*give it again"):
        hm.resume(tmp_path / "run", bits())
    assert same(hm.resume(tmp_path / "run", bits(), **given), whole)
    agree(tmp_path / "run", tmp_path / "whole")
    train(out=tmp_path / "other", callback=lambda record: record["epoch"] == 2, **given)
    with pytest.raises(FileError, match="does not fit the run"):
        hm.resume(tmp_path / "other", bits(), schedule="linear", optimizer=lambda groups: make(groups[:1]))


# --- what is refused ----------------------------------------------------------------------------


def test_other_data_are_refused(tmp_path):
    x = bits()
    flipped = x.clone()
    flipped[17, 3] ^= 1
    train(out=tmp_path / "run")
    for other in (bits(seed=1), x[:-1], flipped, x.float()):
        with pytest.raises(FileError, match=r"run: the data, .* are not those that the run began with"):
            hm.resume(tmp_path / "run", other)
    with pytest.raises(FileError, match="their weights"):
        hm.resume(tmp_path / "run", x, weights=torch.ones(40))


def leave_out(folder, *names):
    """Leave keys out of a configuration, as old versions did."""
    path = folder / "config.json"
    config = json.loads(path.read_text())
    for name in names:
        del config[name]
    path.write_text(json.dumps(config))


def test_other_validation_rows_are_refused(tmp_path):
    """Beyond those that the monitor reads as well; old folders do not tell of them."""
    held_out = bits(30, seed=9)
    flipped = held_out.clone()
    flipped[29, 3] ^= 1
    whole = train(out=tmp_path / "run", validation=held_out)
    for others in (flipped, held_out[:-1], held_out.float(), None):
        with pytest.raises(FileError, match=r"run: the validation rows are not those that the run"):
            hm.resume(tmp_path / "run", bits(), validation=others)
    with pytest.raises(FileError, match="the data, their weights"):
        hm.resume(tmp_path / "run", bits(seed=1), validation=flipped)
    assert same(hm.resume(tmp_path / "run", bits(), validation=held_out), whole)
    leave_out(tmp_path / "run", "validation_fingerprint", "data_fingerprints")
    assert same(hm.resume(tmp_path / "run", bits(), validation=flipped), whole)


def test_validation_rows_where_there_were_none_are_refused(tmp_path):
    train(out=tmp_path / "run")
    with pytest.raises(FileError, match="the validation rows are not those"):
        hm.resume(tmp_path / "run", bits(), validation=bits(30, seed=9))


def test_the_validation_rows_of_a_data_set_are_remembered(tmp_path):
    parts = {"test": bits(9, seed=5).numpy()}
    data = hm.datasets.from_array(bits().numpy(), validation=bits(30, seed=9).numpy(), **parts)
    other = hm.datasets.from_array(bits().numpy(), validation=bits(30, seed=8).numpy(), **parts)
    whole = train(data, out=tmp_path / "run")
    with pytest.raises(FileError, match="the validation rows are not those"):
        hm.resume(tmp_path / "run", other)
    assert same(hm.resume(tmp_path / "run", data), whole)
    noted = RunFolder(tmp_path / "run").config()
    assert changed_splits(noted, data) == []
    assert changed_splits(noted, other) == ["validation"]
    grey = hm.datasets.from_array(100 * bits().numpy() + 20, binarisation="sampled", levels=255)
    assert changed_splits(noted, grey) == ["train", "validation", "test"]
    leave_out(tmp_path / "run", "data_fingerprints")
    assert changed_splits(RunFolder(tmp_path / "run").config(), other) == []
    assert changed_splits(RunFolder(tmp_path / "run").config(), grey) == ["train"]


def test_weights_do_not_hide_that_the_data_are_the_same(tmp_path):
    train(out=tmp_path / "run", weights=torch.arange(40))
    noted = RunFolder(tmp_path / "run").config()
    assert changed_splits(noted, hm.datasets.from_array(bits().numpy())) == []
    assert changed_splits(noted, hm.datasets.from_array(bits(seed=1).numpy())) == ["train"]


def test_another_binarisation_is_refused(tmp_path):
    grey = 100 * bits().numpy() + 20
    train(hm.datasets.from_array(grey, binarisation="sampled", levels=255), out=tmp_path / "run")
    for other in ("none", "threshold"):
        data = hm.datasets.from_array(grey, binarisation=other, levels=255)
        with pytest.raises(FileError, match="their binarisation"):
            hm.resume(tmp_path / "run", data)


def test_another_runs_checkpoint_is_refused(tmp_path):
    train(out=tmp_path / "run")
    train(model=hm.RBM(6, 5), out=tmp_path / "other")
    for path in (tmp_path / "other" / "checkpoints").iterdir():
        path.replace(tmp_path / "run" / "checkpoints" / path.name)
    with pytest.raises(FileError, match="its checkpoint does not fit the run") as caught:
        hm.resume(tmp_path / "run", bits())
    assert "\n" not in str(caught.value)


def test_a_run_without_a_checkpoint_is_refused(tmp_path):
    train(out=tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(FileError, match="no checkpoint to resume from"):
        hm.resume(tmp_path / "run", bits())
    messages = {tmp_path: "no run folder, expected one with a config", tmp_path / "nowhere": "no such folder"}
    for nothing, message in messages.items():
        with pytest.raises(FileError, match=message):
            hm.resume(nothing, bits())


# --- surroundings -------------------------------------------------------------------------------


def test_torchs_own_generator_goes_on_too(tmp_path):
    def drawn(into):
        return lambda record: into.append(float(torch.rand(1))) or (stop == record["epoch"])

    stop, whole, parts = 0, [], []
    torch.manual_seed(11)
    train(out=tmp_path / "whole", callback=drawn(whole))
    stop = 2
    torch.manual_seed(11)
    train(out=tmp_path / "run", callback=drawn(parts))
    torch.manual_seed(99)
    stop = 0
    hm.resume(tmp_path / "run", bits(), callback=drawn(parts))
    assert parts == whole


def test_a_change_of_threads_is_said(tmp_path, caplog):
    train(out=tmp_path / "run", callback=lambda record: record["epoch"] == 1)
    hm.resume(tmp_path / "run", bits(), callback=lambda record: record["epoch"] == 2)
    assert caplog.records == []
    torch.set_num_threads(2)
    try:
        hm.resume(tmp_path / "run", bits())
    finally:
        torch.set_num_threads(1)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("harmonium", logging.WARNING)
    assert "the last bits may differ" in record.getMessage()
    assert "threads was 1, is 2" in record.getMessage()


def test_a_change_of_the_torch_build_is_said(tmp_path, caplog, monkeypatch):
    train(out=tmp_path / "run")
    monkeypatch.setattr(torch, "__version__", "9.9.9+other")
    hm.resume(tmp_path / "run", bits())
    assert "is 9.9.9+other" in caplog.text
    assert "threads" not in caplog.text


# --- mutations ----------------------------------------------------------------------------------


def forget_optimiser(monkeypatch):
    monkeypatch.setattr(Optimisers, "load_state", lambda self, tensors, content: None)


def forget_chains(monkeypatch):
    spoil(monkeypatch, "state:chain.", lambda values: 1 - values)


def forget_offsets(monkeypatch):
    spoil(monkeypatch, "state:offset.", torch.zeros_like)


def forget_stream(monkeypatch):
    monkeypatch.setattr(hm.Stream, "load_state_dict", lambda self, state: None)


def forget_average(monkeypatch):
    spoil(monkeypatch, "average:", torch.zeros_like)


def forget_batch(monkeypatch):
    """Begin the epoch anew, as if a checkpoint were always at the end of one."""
    spoil(monkeypatch, "", lambda values: values, batch=0)


def spoil(monkeypatch, prefix, change, **changes):
    """Change what a checkpoint tells on loading."""
    load = RunFolder.load

    def lossy(self):
        tensors, content = load(self)
        spoilt = {k: change(t) if k.startswith(prefix) else t for k, t in tensors.items()}
        return spoilt, {**content, **changes}

    monkeypatch.setattr(RunFolder, "load", lossy)


FORGETFUL = (
    *(forget_optimiser, forget_chains, forget_offsets, forget_stream),
    *(forget_average, forget_batch),
)


@pytest.mark.parametrize("forget", FORGETFUL, ids=lambda forget: forget.__name__)
def test_a_resume_that_forgets_is_not_the_same_run(tmp_path, monkeypatch, forget):
    options = {"momentum": 0.9, "averaging": 0.9, "lr": 0.5, "epochs": 6}
    whole = train(out=tmp_path / "whole", rule=hm.PCD(chains=300), **options)
    cut(tmp_path / "run", 10, chains=300, **options)
    cut(tmp_path / "other", 10, chains=300, **options)
    assert same(hm.resume(tmp_path / "other", bits()), whole)
    forget(monkeypatch)
    assert not same(hm.resume(tmp_path / "run", bits()), whole)


# --- signals ------------------------------------------------------------------------------------

NURSERY = """
import json, os, signal, sys, traceback
import torch
torch.set_num_threads(1)
import harmonium as hm
from harmonium.training import fit
sys.path.insert(0, sys.argv[1])
from _runs import bits
for line in sys.stdin:
    text, run, said = json.loads(line)
    process = os.fork()
    if process == 0:
        file = os.open(said, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, 1), os.dup2(file, 2)
        try:
            exec(text)
            code = 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


class Nursery:
    """A process that has imported the library, and forks one child at a time to run a text."""

    def __init__(self):
        command = [sys.executable, "-W", "error", "-c", NURSERY, str(Path(__file__).parent)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def start(self, text, run):
        """Start a child on a text in which ``run`` is a folder; return its number."""
        self.said = run.parent / "said"
        self.said.unlink(missing_ok=True)
        line = json.dumps([textwrap.dedent(text), str(run), str(self.said)])
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self):
        """Wait for the child, and return its exit code and what it said."""
        code = int(self.process.stdout.readline())
        return code, self.said.read_text() if self.said.exists() else ""


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.process.stdin.close()
    made.process.wait(60)
    made.process.stdout.close()


LONG = {"epochs": 100_000, "batch_size": 16, "schedule": "constant", "checkpoint_every": 1e9}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_returns_what_there_is(tmp_path, nursery, number):
    text = f"""
        def callback(record):
            if record["epoch"] == 3:
                os.kill(os.getpid(), {int(number)})
        handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        history = hm.fit(hm.RBM(6, 4), bits(), out=run, callback=callback, **{LONG})
        assert handlers == [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
        assert hm.load(run + "/model.safetensors").weight.equal(history.model.weight)
        print(history.stopped, len(history.records))
    """
    nursery.start(text, tmp_path / "run")
    assert nursery.wait() == (0, "interrupted 3\n")
    assert last(tmp_path / "run")[1]["updates"] == 10
    whole = hm.fit(hm.RBM(6, 4), bits(), out=tmp_path / "whole", **{**LONG, "epochs": 5})
    again = hm.resume(tmp_path / "run", bits(), epochs=5)
    assert again.stopped == ""
    assert same(again, whole)


def test_a_second_signal_acts_as_ever(tmp_path, nursery):
    text = f"""
        class Twice(hm.PCD):
            def update(self, *arguments):
                caught = signal.getsignal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)
                while signal.getsignal(signal.SIGINT) is caught:
                    pass
                signal.raise_signal(signal.SIGINT)
                return super().update(*arguments)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            hm.fit(hm.RBM(6, 4), bits(), Twice(), **{LONG})
        except KeyboardInterrupt:
            print("twice")
    """
    nursery.start(text, tmp_path / "run")
    assert nursery.wait() == (0, "twice\n")


def test_a_signal_from_outside(tmp_path, nursery):
    run = tmp_path / "run"
    text = f"print(hm.fit(hm.RBM(6, 4), bits(), out=run, **{LONG}).stopped)"
    process = nursery.start(text, run)
    reach(run, 6)
    os.kill(process, signal.SIGTERM)
    assert nursery.wait() == (0, "interrupted\n")
    done = last(run)[1]["epoch"]
    assert len(hm.resume(run, bits(), epochs=done).records) == done >= 2
    with pytest.raises(ArgumentError, match=f"epochs: got 1, expected at least the {done} that are done"):
        hm.resume(run, bits(), epochs=1)
    with pytest.raises(ArgumentError, match=r"lr: got 0\.01, expected more epochs as well"):
        hm.resume(run, bits(), lr=0.01)
    assert RunFolder(run).config()["options"]["epochs"] == done


@pytest.mark.parametrize("moment", ["Source.mean", "Log.__init__", "RunFolder.save"])
def test_an_interrupted_start_leaves_no_folder(tmp_path, nursery, moment):
    owner, name = moment.split(".")
    text = f"""
        from harmonium.training import RunFolder, _log, _source
        Log, Source = _log.Log, _source.Source
        def interrupt(*arguments):
            raise KeyboardInterrupt
        {owner}.{name} = interrupt
        try:
            hm.fit(hm.RBM(6, 4), bits(), out=run)
        except KeyboardInterrupt:
            print("interrupted")
    """
    nursery.start(text, tmp_path / "run")
    assert nursery.wait() == (0, "interrupted\n")
    assert not (tmp_path / "run").exists()


def reach(run, updates):
    """Wait until a run has saved that many updates."""
    for _ in range(100_000):
        saved = [int(path.stem) for path in run.glob("checkpoints/*.safetensors")]
        if max(saved, default=-1) >= updates:
            return
        time.sleep(0.001)
    raise TimeoutError(run)


def kill_and_resume(folder, nursery, kills, seed, **options):
    """Kill a run at random moments, resume it each time, and compare it with one that was not killed."""
    options = {**SMALL, "checkpoint_every": 1e-9, **options}
    run = folder / "run"
    fit = f"torch.manual_seed(0); hm.fit(hm.RBM(6, 4), bits(), hm.PCD(chains=10), out=run, **{options})"
    resume = "hm.resume(run, bits())"
    dice = random.Random(seed)
    updates = 3 * options["epochs"]
    for target in sorted(dice.sample(range(updates * 8 // 10), kills)):
        process = nursery.start(resume if run.exists() else fit, run)
        reach(run, target)
        time.sleep(dice.uniform(0, 0.005))
        os.kill(process, signal.SIGKILL)
        assert nursery.wait() == (-signal.SIGKILL, "")
    nursery.start(resume, run)
    assert nursery.wait() == (0, "")
    torch.manual_seed(0)
    train(out=folder / "whole", **options)
    agree(run, folder / "whole")
    assert not list(run.rglob(".*"))
    assert (run / "model.safetensors").read_bytes() == (folder / "whole/model.safetensors").read_bytes()


def test_a_run_that_was_killed_three_times_is_the_same_run(tmp_path, nursery):
    kill_and_resume(tmp_path, nursery, 3, 0, epochs=15, optimizer="Adam", lr=0.01)


@pytest.mark.reproduction
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_run_that_was_killed_twenty_times_is_the_same_run(tmp_path, nursery, seed):
    options = [
        {"optimizer": "Adam", "lr": 0.01},
        {"momentum": 0.9, "likelihood_every": 3, "likelihood": {"method": "exact"}},
        {"averaging": 0.5, "optimizer": "RMSprop", "lr": 0.001},
    ]
    kill_and_resume(tmp_path, nursery, 20, seed, epochs=200, **options[seed - 1])


# --- the rules' table ---------------------------------------------------------------------------


def fitting(rule):
    """Return rows and a machine that a rule takes: of bits, of real numbers, or of rows with a label."""
    real, labelled = hm.Gaussian(6), hm.Mixed(hm.Bernoulli(5), hm.Categorical(1, 2))
    for rows, visible in ((bits(), 6), (hm.Stream(3).normal(40, 6), real), (bits(), labelled)):
        model = hm.RBM(visible, 4)
        try:
            rule.check(model)
        except ArgumentError:
            continue
        return rows, model
    raise AssertionError(f"{rule.name} takes none of the machines")


@pytest.mark.parametrize("name", [name for name, rule in RULES.items() if rule.fits is PairwiseModel])
def test_every_rule_resumes(tmp_path, name):
    rule = RULES[name]()
    rows, model = fitting(rule)
    whole = train(rows, model, rule, out=tmp_path / "run", checkpoint_every=1e-9, keep=50)
    back_to(tmp_path / "run", 4)
    assert same(hm.resume(tmp_path / "run", rows), whole)


def test_a_failed_run_can_go_on_with_a_lower_rate(tmp_path):
    rows = bits().float() * 3
    with pytest.raises(TrainingError):
        train(rows, hm.RBM(hm.Gaussian(6), 4), lr=1e30, out=tmp_path / "run", epochs=30)
    history = hm.resume(tmp_path / "run", rows, lr=1e-12, epochs=5)
    assert all(bool(p.isfinite().all()) for p in history.model.parameters())
