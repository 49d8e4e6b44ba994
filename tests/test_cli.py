"""The command line: what each command leaves, prints and refuses, and with which exit code."""

import ast
import json
import re
import shutil
import signal
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import harmonium as hm
from harmonium.cli import _demo, _train, app
from harmonium.cli._train import understand
from harmonium.models import MODELS, GenerativeModel, error_rate
from harmonium.training import RunFolder
from harmonium.training._source import fingerprints

COMMANDS = (
    *("train", "resume", "finetune", "evaluate", "sample", "measure", "data", "demo"),
    *("describe", "impute", "score"),
)
DEEP = ["hidden=[10,6]", "epochs=[2,1]", "lr=[0.1,0.05]", "batch_size=200", "rule.chains=20", "seed=5"]
SMALL = ["hidden=8", "epochs=2", "batch_size=200", "rule.chains=20", "lr=0.1", "seed=5"]
QUICK = ["runs=20", "betas=100", "equilibrate=20"]


def harmonium(*arguments):
    """Run a command in this process."""
    return CliRunner().invoke(app, [str(part) for part in arguments])


def sets(pairs):
    """Return settings as they are typed."""
    return [part for pair in pairs for part in ("--set", pair)]


def succeed(*arguments):
    """Run a command that must succeed, and return the JSON object that it prints."""
    result = harmonium(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refuse(code, *arguments):
    """Run a command that must be refused in one line, and return the line."""
    result = harmonium(*arguments)
    assert result.exit_code == code, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def model_of(run):
    """Return the parameters that a run left."""
    return hm.load(Path(run) / "model.safetensors").state_dict()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a small run on digits, with what the command printed of it."""
    path = tmp_path_factory.mktemp("runs") / "small"
    told = succeed("train", "rbm", "--data", "digits", "--out", path, *sets(SMALL))
    return path, told


@pytest.fixture
def run(trained, tmp_path):
    """Return a copy of the small run."""
    return Path(shutil.copytree(trained[0], tmp_path / "run"))


# --- help -----------------------------------------------------------------------------------------


def test_help_names_each_command_and_imports_nothing_heavy():
    command = [sys.executable, "-X", "importtime", "-m", "harmonium", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert all(f" {name} " in result.stdout for name in COMMANDS)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "harmonium.cli._app" in imported
    assert not {"torch", "numba", "pydantic", "matplotlib", "sklearn"} & imported


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example_of_options_that_exist(name):
    text = harmonium(name, "--help").stdout
    words = text.partition("Example: ")[2].split()
    assert words[:2] == ["harmonium", name]
    assert "--json" in text
    for word in words:
        if word.startswith("--"):
            assert word in text.partition("Example: ")[0]


def test_version_is_the_installed_one():
    result = harmonium("--version")
    assert (result.exit_code, result.stdout) == (0, f"harmonium {hm.__version__}\n")


def test_every_setting_is_listed():
    text = harmonium("train", "--settings").stdout
    keys = (
        "hidden_units",
        "visible.states",
        "rule.chains",
        "batch_size",
        "likelihood.runs",
        "data.seed",
    )
    assert all(key in text for key in keys)
    assert "persistent chains" in text
    words = " ".join(text.split())
    assert "what the players lose: minimax, nonsaturating, least-squares, wasserstein, hinge" in words
    assert "(default: 32 for dcgan, 64 for resnet, 48 for modern)" in words
    assert (
        "channels next to the image, doubled at each halving (dcgan); channels of all layers (resnet)"
        in words
    )
    assert "rule.discriminator_steps 1 the discriminator's updates" in words


# --- mistakes ---------------------------------------------------------------------------------------

TRAIN = ("train", "rbm", "--data", "digits", "--out", "new")
DBN = ("train", "dbn", *TRAIN[2:])
MLP = ("train", "mlp", "--data", "digits", "--out")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["tarin"], "Did you mean 'train'?"),
        (["train"], "Missing argument"),
        (["train", "--nothing"], "No such option"),
        (["train", "vae", *TRAIN[2:]], "MODEL: unknown 'vae', expected one of rbm"),
        (["train", "gan", *TRAIN[2:], *sets(["hidden=3"])], "unknown key 'hidden'"),
        (["train", "gan", *TRAIN[2:], *sets(["network=dcgna"])], "did you mean 'dcgan'?"),
        (
            ["train", "gan", *TRAIN[2:], *sets(["network.hidden=3"])],
            "no setting of dcgan networks, which has",
        ),
        (["train", "gan", *TRAIN[2:], *sets(["rule=pcd"])], "rule: got 'pcd', expected 'adversarial'"),
        (["train", "gan", *TRAIN[2:], *sets(["rule.loss=hing"])], "rule.loss: got 'hing'"),
        (["train", "gan", *TRAIN[2:], *sets(["visible=spin"])], "visible: got Spin(64), expected Bernoulli"),
        (["train", "rbm", "--data", "digit", "--out", "new", "--set", "hidden=3"], "mean 'digits'?"),
        ([*TRAIN], "hidden: missing"),
        ([*TRAIN, "--set", "hidden"], "expected KEY=VALUE"),
        ([*TRAIN, "--set", "hidden=3", "epochs=2"], "every setting needs a --set of its own"),
        ([*TRAIN, *sets(["hidden=3", "hidden=4"])], "hidden comes twice"),
        ([*TRAIN, *sets(["hidden=3", "epoch=4"])], "unknown key 'epoch'; did you mean 'epochs'?"),
        ([*TRAIN, *sets(["hidden=3", "steps=4"])], "did you mean 'rule.steps'?"),
        ([*TRAIN, *sets(["hidden=3", "rule.chain=4"])], "did you mean 'rule.chains'?"),
        ([*TRAIN, *sets(["hidden=3", "rule=pdc"])], "did you mean 'pcd'?"),
        ([*TRAIN, *sets(["hidden=3", "rule=cd", "rule.chains=4"])], "no setting of cd, which has centred"),
        ([*TRAIN, *sets(["hidden=3", "visible.states=4"])], "no setting of bernoulli units"),
        ([*TRAIN, *sets(["hidden=3", "hidden_units=categorical"])], "hidden.states: missing"),
        ([*TRAIN, *sets(["hidden=3", "visible=bernouli"])], "did you mean 'bernoulli'?"),
        ([*TRAIN, *sets(["hidden=3", "visible=relu"])], "ReLU ones are for hidden layers"),
        ([*TRAIN, *sets(["hidden=3", "visible=spin:64"])], "unknown 'spin:64', expected one of bernoulli"),
        ([*TRAIN, *sets(["hidden=3", "visible=mixed"])], "got 'mixed', expected a type and a number"),
        ([*TRAIN, *sets(["hidden=3", "visible=mixed:spin:8x8"])], "got 'spin:8x8', expected a type"),
        ([*TRAIN, *sets(["hidden=3", "visible=mixed:bits:64"])], "visible: unknown 'bits'"),
        ([*TRAIN, *sets(["hidden=3", "visible=mixed:spin:60+spin:3"])], "expected parts of 64 units"),
        ([*TRAIN, *sets(["hidden=3", "hidden_units=mixed:spin:2+categorical:1"])], "hidden.states: missing"),
        (
            [*TRAIN, *sets(["hidden=3", "hidden_units=mixed:spin:2+relu:1", "hidden.states=3"])],
            "no setting of these parts, which has precision",
        ),
        ([*TRAIN, *sets(["hidden=three"])], "hidden: got 'three', expected a valid integer"),
        ([*TRAIN, *sets(["hidden=1000000000000"])], "hidden: got 1000000000000, expected less: 238,418 GiB"),
        ([*TRAIN, *sets([f"hidden=1{'0' * 400}"])], " GiB of memory are needed, and there are "),
        ([*TRAIN, *sets(["hidden=3", "lr=-1"])], "lr: got '-1', expected greater than 0"),
        ([*TRAIN, *sets(["hidden=3", "data.binarisation=treshold"])], "did you mean 'threshold'?"),
        ([*TRAIN, *sets(["hidden=3", "likelihood.method=exat"])], "did you mean 'exact'?"),
        ([*TRAIN, *sets(["hidden=[3,4]"])], "hidden: got '[3,4]', expected a valid integer"),
        ([*TRAIN, *sets(["hidden=3", "rule=wake-sleep"])], "harmonium finetune takes it"),
        ([*DBN], "hidden: missing"),
        ([*DBN, *sets(["hidden=[3,0]"])], "hidden: got 0, expected a positive number"),
        (
            [*DBN, *sets(["hidden=[3,3]", "epochs=[1,1,1]"])],
            "epochs: got [1, 1, 1], expected one value, or a list of 2",
        ),
        ([*DBN, *sets(["hidden=[3,3]", "lr=[0.1,-1]"])], "lr: got"),
        (
            [*DBN, *sets(["hidden=[3,3]", 'hidden_units=["spin"]'])],
            "hidden_units: got ['spin'], expected one type",
        ),
        ([*DBN, *sets(["hidden=[3,3]", 'hidden_units=["spin","bits"]'])], "hidden_units: unknown 'bits'"),
        ([*DBN, *sets(["hidden=[3,3]", 'masks=["local:3"]'])], "masks: got ['local:3'], expected one mask"),
        (
            [*DBN, *sets(["hidden=[3,3]", "masks=local:3"])],
            "a local one for layer 2, as what it sees is no image",
        ),
        (
            [*DBN, *sets(["hidden=[3,3]", "masks=lokal:3"])],
            "masks: got 'lokal:3', expected random:INPUTS, local",
        ),
        ([*DBN, *sets(["hidden=[3,3]", "masks=random:4"])], "inputs: got 4, expected at most the 3"),
        (
            ["train", "mlp", *TRAIN[2:], *sets(["hidden=3", "rule=pcd"])],
            "rule: got 'pcd', expected 'cross-entropy'",
        ),
        (
            ["train", "mlp", *TRAIN[2:], *sets(["hidden=3", "hidden_units=spin"])],
            "unknown key 'hidden_units'",
        ),
        (["data", "fashon-mnist"], "did you mean 'fashion-mnist'?"),
        (["data", "--set", "seed=3"], "expected the name of a data set"),
    ],
)
def test_what_is_mistyped_is_one_line_and_code_2(arguments, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert line in refuse(2, *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "RUN", "--split", "tset"], "did you mean 'test'?"),
        (["evaluate", "RUN", "--method", "bridges"], "did you mean 'bridge'?"),
        (["evaluate", "RUN", "--set", "run=3"], "did you mean 'runs'?"),
        (["evaluate", "RUN", "--set", "runs=1"], "runs: got 1"),
        (["evaluate", "RUN", "--set", "data.seed=1"], "data.seed: there is nothing to load, expected --data"),
        (["evaluate", "RUN", "--data", "digit"], "did you mean 'digits'?"),
        (
            ["evaluate", "RUN", "--set", "samples=3"],
            "samples: only for a deep model, and the hidden units of this rbm sum out",
        ),
        (["evaluate", "RUN", "--growth"], "growth: only for a deep belief network"),
        (
            ["sample", "RUN", "--out", "x.npy", "--label", "3"],
            "--label: got 3, expected none, as the model has no label",
        ),
        (["resume", "RUN", "--set", "rule.steps=3"], "rule.steps: got '3', expected none, as the run keeps"),
        (
            ["resume", "RUN", "--set", "hidden=[10,5]"],
            "hidden: got '[10,5]', expected none, as the run keeps",
        ),
        (["resume", "RUN", "--set", "epoch=3"], "unknown key 'epoch'; did you mean 'epochs'?"),
        (["sample", "RUN", "--out", "x.jpg"], "a name that ends in .png, .npy, .csv"),
        (["sample", "RUN", "--out", "x.png", "--n", "0"], "n: got 0"),
        (["sample", "RUN", "--out", "x.png", "--replicas", "0"], "replicas: got 0"),
        (["sample", "RUN", "--out", "x.png", "--from", "nois"], "noise"),
    ],
)
def test_what_is_mistyped_about_a_run_is_code_2(arguments, line, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert line in refuse(2, *(run if part == "RUN" else part for part in arguments))


def test_what_fails_is_one_line_and_code_1(run, tmp_path):
    (tmp_path / "file").touch()
    train = ("train", "rbm", "--data", "digits", "--set", "hidden=3", "--out")
    assert "exists already" in refuse(1, *train, run)
    assert "cannot be written" in refuse(1, *train, tmp_path / "file" / "run")
    assert "no such file" in refuse(1, "data", tmp_path / "none.npy")
    for command in (["resume"], ["evaluate"], ["sample", "--out", tmp_path / "x.npy"]):
        assert "no such folder" in refuse(1, command[0], tmp_path / "none", *command[1:])
    for out in (tmp_path / "none" / "x.npy", tmp_path / "file" / "x.npy"):
        assert "no folder" in refuse(1, "sample", run, "--out", out)


def test_damaged_files_are_refused(run):
    model, (*_, checkpoint) = run / "model.safetensors", RunFolder(run).checkpoints()
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-40])
    assert "truncated" in refuse(1, "resume", run)
    checkpoint.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "altered" in refuse(1, "evaluate", run)
    checkpoint.write_bytes(whole)
    whole = model.read_bytes()
    model.write_bytes(whole[:100])
    assert "truncated" in refuse(1, "evaluate", run)
    model.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "altered" in refuse(1, "sample", run, "--out", run / "x.npy")
    model.unlink()
    assert "harmonium resume" in refuse(1, "evaluate", run)
    (run / "config.json").write_text("{")
    assert "damaged" in refuse(1, "resume", run)


def test_a_run_made_from_python_names_no_data(tmp_path):
    data = hm.datasets.load("digits")
    hm.fit(hm.RBM(64, 2), data, out=tmp_path / "run", epochs=0)
    assert "made from Python" in refuse(1, "evaluate", tmp_path / "run")


# --- train and resume -------------------------------------------------------------------------------


def test_train_leaves_all_that_made_the_run(trained):
    path, told = trained
    config = RunFolder(path).config()
    assert (told["epochs"], told["of"], told["stopped"]) == (2, 2, "")
    assert told["last"]["validation/pseudo_likelihood"] < 0
    assert config["data"] == {"source": "digits", "arguments": {}}
    assert config["rule"]["chains"] == 20
    assert config["options"]["seed"] == 5
    assert config["model"]["config"]["hidden"] == {"kind": "bernoulli", "size": 8}
    assert config["commands"][0][:3] == ["train", "rbm", "--data"]
    assert config["environment"]["torch"] == torch.__version__


def test_the_command_equals_the_python_call(trained):
    data = hm.datasets.load("digits")
    rbm = hm.RBM(64, 8)
    hm.fit(rbm, data, hm.PCD(chains=20), epochs=2, batch_size=200, lr=0.1, seed=5)
    for name, value in model_of(trained[0]).items():
        assert torch.equal(value, rbm.state_dict()[name])


def test_a_run_that_was_stopped_resumes_to_the_same_parameters(trained, tmp_path):
    wish = understand("rbm", "digits", SMALL)
    parts = {"out": tmp_path / "run", "config": wish.config, **wish.options}
    hm.fit(wish.model, wish.data, wish.rule, callback=lambda record: True, **parts)
    assert len(RunFolder(tmp_path / "run").checkpoints()) == 2
    told = succeed("resume", tmp_path / "run")
    assert (told["epochs"], told["stopped"]) == (2, "")
    expected = model_of(trained[0])
    for name, value in model_of(tmp_path / "run").items():
        assert torch.equal(value, expected[name])


def test_resume_takes_more_epochs_and_remembers_them(run):
    assert "has all its 2 epochs" in harmonium("resume", run).stderr
    assert succeed("resume", run, "--set", "epochs=3", *sets(["likelihood.runs=7"]))["of"] == 3
    config = RunFolder(run).config()
    assert config["options"]["likelihood"]["runs"] == 7
    assert config["options"]["likelihood"]["betas"] > 7
    assert config["commands"][-1][:4] == ["resume", "RUN", "--set", "epochs=3"]


def test_ctrl_c_saves_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(_train, "watched", lambda record: signal.raise_signal(signal.SIGINT) or "")
    pairs = sets(["hidden=4", "epochs=1000000", "rule.chains=5"])
    result = harmonium(*TRAIN[:-1], tmp_path / "run", *pairs)
    assert result.exit_code == 0, result.output
    assert "1 of 1000000 epochs, stopped early: interrupted" in result.stdout
    assert f"harmonium resume {tmp_path / 'run'}" in result.stdout
    assert (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("rows", "more", "kind"),
    [
        (np.random.default_rng(0).normal(size=(40, 3)), [], "gaussian"),
        (np.random.default_rng(0).integers(0, 4, (40, 3)), [], "categorical"),
        (np.random.default_rng(0).choice([-1, 1], (40, 3)), [], "spin"),
        (np.random.default_rng(0).integers(0, 2, (40, 3)), ["hidden_units=spin"], "bernoulli"),
        (np.random.default_rng(0).integers(0, 2, (40, 3)), ["visible=gaussian"], "gaussian"),
    ],
)
def test_the_visible_units_fit_the_data(rows, more, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("rows.npy", rows)
    pairs = ["hidden=2", "epochs=1", "data.test=5", *more]
    succeed("train", "rbm", "--data", "rows.npy", "--out", "run", *sets(pairs))
    config = RunFolder("run").config()
    assert config["model"]["config"]["visible"]["kind"] == kind
    assert Path(config["data"]["source"]).is_absolute()
    assert succeed("evaluate", "run", "--no-report")["rows"] == 5
    succeed("sample", "run", "--out", "x.csv", "--n", "4", "--steps", "2")
    assert np.loadtxt("x.csv", delimiter=",").shape == (4, 3)
    refuse(2, "sample", "run", "--out", "x.png")


def test_mixed_layers_are_named_by_their_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    rows = np.column_stack((generator.integers(0, 2, (40, 3)), generator.integers(0, 4, (40, 1))))
    np.save("rows.npy", rows)
    pairs = ["hidden=3", "epochs=1", "data.test=5", "visible=mixed:bernoulli:3+categorical:1x4"]
    pairs += ["hidden_units=mixed:spin:1+relu:2", "hidden.precision=2"]
    succeed("train", "rbm", "--data", "rows.npy", "--out", "run", *sets(pairs))
    model = hm.load("run/model.safetensors")
    assert [part.config() for part in model.visible.parts] == [
        {"kind": "bernoulli", "size": 3},
        {"kind": "categorical", "size": 1, "states": 4},
    ]
    assert [part.config() for part in model.hidden.parts] == [
        {"kind": "spin", "size": 1},
        {"kind": "relu", "size": 2, "precision": 2.0},
    ]
    assert succeed("evaluate", "run", "--no-report")["rows"] == 5
    succeed("sample", "run", "--out", "x.csv", "--n", "4", "--steps", "2")
    drawn = np.loadtxt("x.csv", delimiter=",")
    assert drawn.shape == (4, 4)
    model.visible.validate(torch.from_numpy(drawn))


# --- evaluate ---------------------------------------------------------------------------------------


def test_evaluate_reports_both_ends_and_keeps_them(run):
    exact = succeed("evaluate", run, "--no-report")
    found = succeed("evaluate", run, "--method", "bridge", *sets(QUICK))
    z = found["log_partition"]
    assert (exact["method"], found["method"]) == ("exact", "bridge")
    assert found["lower"] <= found["mean"] + 4 * z["upper_standard_error"]
    assert found["upper"] >= found["mean"] - 4 * z["lower_standard_error"]
    assert abs(found["mean"] - exact["mean"]) <= 4 * found["standard_error"] + 1e-6
    assert found["trusted"]
    assert (found["rows"], found["binarisation"], found["chains"]) == (250, "sampled", 20)
    data = hm.datasets.load("digits")
    assert found["baseline_log_likelihood"] == hm.datasets.summary(data)["baseline_log_likelihood"]
    assert Path(found["report"]) == run / "report.html"
    other = succeed("evaluate", run, "--split", "validation", "--no-report")
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["test"]["mean"] == found["mean"]
    assert kept["validation"]["mean"] == other["mean"]
    data_error = hm.log_likelihood(hm.load(run / "model.safetensors"), data).data_standard_error
    assert exact["data_standard_error"] == data_error


def test_evaluate_prints_the_numbers(run):
    text = harmonium("evaluate", run, "--no-report").stdout
    assert "250 test rows of digits (sampled)" in text
    assert "independent units" in text
    assert "trusted" in text


@pytest.fixture
def moved(tmp_path):
    """Return a run on rows in a file that has changed since, and the path of the file."""
    path, generator = tmp_path / "rows.npy", np.random.default_rng(0)
    np.save(path, generator.integers(0, 2, (60, 5)))
    pairs = ["hidden=3", "epochs=1", "rule.chains=5", "data.test=7"]
    succeed("train", "rbm", "--data", path, "--out", tmp_path / "run", *sets(pairs))
    np.save(path, generator.integers(0, 2, (60, 5)))
    return tmp_path / "run", path


def test_data_that_have_changed_are_refused(moved, tmp_path):
    run, path = moved
    expected = f"{run}: the train, validation and test rows of {path} are not those that the run began with; "
    expected += f"bring those back, or ask for these: --data {path}"
    out = tmp_path / "x.npy"
    assert expected in refuse(1, "evaluate", run)
    assert expected in refuse(1, "sample", run, "--out", out, "--from", "data")
    resumed = harmonium("resume", run)
    assert resumed.exit_code == 1
    assert "the data, their weights or their binarisation are not those" in resumed.stderr
    assert not out.exists()
    assert not (run / "evaluation.json").exists()
    succeed("sample", run, "--out", out, "--steps", "1", "--from", "chains")


def test_a_change_of_the_test_rows_alone_is_seen(moved):
    run, path = moved
    data = hm.datasets.load(path, test=7)
    config = RunFolder(run).config()
    hashes = {**fingerprints(data), "test": config["data_fingerprints"]["test"]}
    (run / "config.json").write_text(json.dumps({**config, "data_fingerprints": hashes}))
    assert f"{run}: the test rows of {path} are not those" in refuse(1, "evaluate", run)


def test_other_data_are_evaluated_beside_the_runs_own(moved, tmp_path):
    """As they are named: loaded as the run was where the source is the same, and as it is said."""
    run, path = moved
    model = hm.load(run / "model.safetensors")
    other = succeed("evaluate", run, "--data", path)
    rows = hm.datasets.load(path, test=7).test
    assert other["rows"] == 7
    assert other["mean"] == pytest.approx(hm.log_likelihood(model, rows).mean)
    assert other["report"] is None
    assert not (run / "report.html").exists()
    np.save(tmp_path / "more.npy", np.eye(5, dtype=int))
    typed = ["--data", str(tmp_path / "more.npy"), *sets(["data.test=3", "data.validation=0"])]
    more = succeed("evaluate", run, *typed)
    assert more["rows"] == 3
    assert more["command"][-6:] == typed
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept.keys() == {"version", "test of rows.npy", "test of more.npy"}
    np.save(path, np.random.default_rng(0).integers(0, 2, (60, 5)))
    own = succeed("evaluate", run, "--data", path, "--no-report")
    kept = json.loads((run / "evaluation.json").read_text())
    assert kept["test"]["mean"] == own["mean"] != other["mean"]
    assert Path(succeed("evaluate", run)["report"]).exists()
    out = tmp_path / "x.npy"
    start = ("--from", "data", "--data", tmp_path / "more.npy")
    succeed("sample", run, "--out", out, "--n", "9", "--steps", "0", *start)
    assert (np.load(out).sum(1) == 1).all()


# --- sample -----------------------------------------------------------------------------------------


def test_samples_are_written_and_never_overwritten_unless_told(run, tmp_path):
    out = tmp_path / "x.npy"
    draw = ("sample", run, "--out", out, "--n", "7", "--steps", "5")
    assert succeed(*draw)["rows"] == 7
    first = np.load(out)
    assert first.shape == (7, 64)
    assert set(np.unique(first)) == {0, 1}
    assert "--force" in refuse(1, *draw)
    assert succeed(*draw, "--force", "--seed", "1")["rows"] == 7
    assert (np.load(out) != first).any()
    succeed(*draw, "--force")
    assert (np.load(out) == first).all()


def test_samples_of_replicas_are_those_of_python(run, tmp_path):
    out = tmp_path / "x.npy"
    succeed("sample", run, "--out", out, "--n", "6", "--steps", "9", "--replicas", "3")
    rows = hm.sample(hm.load(run / "model.safetensors"), 6, steps=9, replicas=3)
    assert (np.load(out) == rows.numpy()).all()


@pytest.mark.parametrize("start", ["noise", "data", "chains"])
def test_samples_start_where_they_are_told(run, tmp_path, start):
    out = tmp_path / "x.npy"
    succeed("sample", run, "--out", out, "--n", "50", "--steps", "0", "--from", start)
    rows = torch.from_numpy(np.load(out)).float()
    places = {
        "data": hm.datasets.load("digits").fixed("train").float(),
        "chains": RunFolder(run).load()[0]["state:chain.visible"],
    }
    for place, known in places.items():
        found = (torch.cdist(rows, known) == 0).any(1).all()
        assert bool(found) == (place == start)


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_samples_keep_a_half_of_the_test_images(run, tmp_path, side):
    out, test = tmp_path / "x.npy", hm.datasets.load("digits").fixed("test").float()
    succeed("sample", run, "--out", out, "--n", "500", "--steps", "2", "--clamp", side)
    where = {"left": np.s_[:, :, :4], "right": np.s_[:, :, 4:], "top": np.s_[:, :4], "bottom": np.s_[:, 4:]}
    rows, truth = np.load(out).reshape(-1, 8, 8), test.numpy().reshape(-1, 8, 8)
    truth = truth[np.arange(500) % len(truth)]
    assert (rows[where[side]] == truth[where[side]]).all()
    assert 0 < (rows != truth).mean() < 0.3


@pytest.mark.parametrize("ending", ["npy", "csv", "tsv"])
def test_samples_keep_what_a_file_tells(run, tmp_path, ending):
    path, out = tmp_path / f"kept.{ending}", tmp_path / "x.npy"
    kept = np.where(np.random.default_rng(0).random((3, 64)) < 0.5, np.nan, 1.0)
    if ending == "npy":
        np.save(path, kept)
    else:
        cut = {"csv": ",", "tsv": "\t"}[ending]
        path.write_text("\n".join(cut.join("" if np.isnan(x) else "1" for x in row) for row in kept))
    succeed("sample", run, "--out", out, "--n", "7", "--steps", "3", "--clamp", path)
    clamp = torch.from_numpy(kept[np.arange(7) % 3]).float()
    rows = hm.sample(hm.load(run / "model.safetensors"), 7, steps=3, clamp=clamp)
    assert (np.load(out) == rows.numpy()).all()
    start = ("--from", "chains", "--force")
    succeed("sample", run, "--out", out, "--n", "7", "--steps", "3", "--clamp", path, *start)
    again = np.load(out)
    assert (again[~clamp.isnan().numpy()] == 1).all()
    assert (again != rows.numpy()).any()


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (None, 1, "--clamp: kept.csv cannot be read (No such file"),
        ("1,,0\n", 1, "--clamp: got 3 columns, expected 64"),
        ("1,a,0\n", 1, "or an .npy, .csv or .tsv file of numbers (could not convert string"),
        (",".join("2" * 64), 1, "clamp: got 2 at row 0, column 0, expected 0 or 1"),
    ],
)
def test_what_samples_cannot_keep_is_refused(run, tmp_path, monkeypatch, text, code, message):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        Path("kept.csv").write_text(text)
    told = refuse(code, "sample", run, "--out", "x.npy", "--clamp", "kept.csv", "--steps", "1")
    assert message in told
    assert not Path("x.npy").exists()
    assert "left, right, top, bottom, or an" in refuse(
        2, "sample", run, "--out", "x.npy", "--clamp", "middle"
    )


def test_a_picture_has_a_square_for_each_sample(run, tmp_path):
    out = tmp_path / "x.png"
    succeed("sample", run, "--out", out, "--n", "4", "--steps", "3", "--means", "--temperature", "0.5")
    with Image.open(out) as image:
        width, height = image.size
    assert width == height > 2 * 64


# --- deep belief networks and their fine-tuning -----------------------------------------------------


@pytest.fixture(scope="module")
def trained_deep(tmp_path_factory):
    """Return a small deep belief network of digits, with what the command printed of it."""
    path = tmp_path_factory.mktemp("runs") / "deep"
    return path, succeed("train", "dbn", "--data", "digits", "--out", path, *sets(DEEP))


@pytest.fixture
def deep(trained_deep, tmp_path):
    """Return a copy of the small deep belief network's run."""
    return Path(shutil.copytree(trained_deep[0], tmp_path / "deep"))


@pytest.fixture(scope="module")
def trained_labels(tmp_path_factory):
    """Return a small deep belief network of digits and their labels."""
    path = tmp_path_factory.mktemp("runs") / "labels"
    succeed("train", "dbn", "--data", "digits", "--out", path, *sets([*DEEP, "data.with_labels=true"]))
    return path


@pytest.fixture(scope="module")
def tuned(trained_deep, tmp_path_factory):
    """Return the small network's run as a classifier, with what the command printed of it."""
    path = tmp_path_factory.mktemp("runs") / "tuned"
    pairs = ["epochs=4", "batch_size=50", "dropout=0.2", "seed=3", "schedule=constant"]
    return path, succeed("finetune", trained_deep[0], "--out", path, *sets(pairs))


def test_a_deep_network_is_trained_layer_by_layer(trained_deep):
    path, told = trained_deep
    config = RunFolder(path).config()
    assert (told["epochs"], told["of"], told["stopped"]) == (3, 3, "")
    assert [end["epoch"] for end in told["layers"]] == [2, 1]
    assert told["last"] == told["layers"][-1]
    assert [own["epochs"] for own in config["options"]["layers"]] == [2, 1]
    assert [own["chains"] for own in config["rule"]["layers"]] == [20, 20]
    dbn = hm.DBN([64, 10, 6])
    data = hm.datasets.load("digits")
    options = {"epochs": [2, 1], "lr": [0.1, 0.05], "batch_size": 200, "seed": 5}
    hm.pretrain(dbn, data, hm.PCD(chains=20), **options)
    for name, value in model_of(path).items():
        assert torch.equal(value, dbn.state_dict()[name])


def test_a_deep_network_that_was_stopped_resumes_to_the_same_parameters(trained_deep, tmp_path):
    wish = understand("dbn", "digits", [*DEEP, "means=false", "upside_down=true"])
    assert wish.layered == {"means": False, "upside_down": True}
    parts = {"out": tmp_path / "run", "config": wish.config, **wish.options, **wish.layered}
    hm.pretrain(wish.model, wish.data, wish.rule, callback=lambda record: True, **parts)
    assert succeed("resume", tmp_path / "run")["epochs"] == 3
    expected = model_of(trained_deep[0])
    for name, value in model_of(tmp_path / "run").items():
        assert torch.equal(value, expected[name])


def test_a_layer_goes_on_with_more_epochs(deep):
    result = harmonium("resume", deep, *sets(["epochs=[2,3]", "likelihood.runs=7"]))
    assert "epoch 5/5  layer 2 of 2" in result.stderr
    assert "5 of 5 epochs" in result.stdout
    layers = RunFolder(deep).config()["options"]["layers"]
    assert [own["epochs"] for own in layers] == [2, 3]
    assert layers[1]["likelihood"]["runs"] == 7
    assert "has all its [2, 3] epochs" in harmonium("resume", deep).stderr


def test_layers_have_units_and_masks_of_their_own(tmp_path):
    pairs = ["hidden=[12,7]", 'hidden_units=["spin","gaussian"]', "hidden.precision=2", "epochs=1"]
    pairs += ['masks=["local:3","random:5"]', "means=true", "rule.chains=5"]
    succeed("train", "dbn", "--data", "digits", "--out", tmp_path / "run", *sets(pairs))
    model = hm.load(tmp_path / "run" / "model.safetensors")
    assert model.rbms[0].hidden.config() == {"kind": "spin", "size": 12}
    assert model.rbms[1].hidden.precision.tolist() == [2.0] * 7
    lower, upper = (rbm.weight_mask for rbm in model.rbms)
    assert (lower.sum(0) == 9).all()
    assert (upper.sum(0) == 5).all()
    windows = lower.T.view(12, 8, 8)
    assert (windows.amax(1).sum(1) == 3).all()
    assert (windows.amax(2).sum(1) == 3).all()
    assert not model.rbms[0].weight[lower == 0].any()
    assert RunFolder(tmp_path / "run").config()["options"]["means"]


def test_the_bound_and_the_estimate_are_those_of_python(deep):
    found = succeed("evaluate", deep, "--no-report", *sets(["samples=7", "seed=2"]))
    model, data = hm.load(deep / "model.safetensors"), hm.datasets.load("digits")
    result = hm.log_likelihood(model, data.test, samples=7, seed=2)
    assert (found["bound"], found["mean"]) == (result.bound, result.mean)
    assert found["bound"] < found["mean"]
    assert (found["importance_samples"], found["chains"]) == (7, 20)
    kept = json.loads((deep / "evaluation.json").read_text())["test"]
    assert kept == {key: value for key, value in found.items() if key != "report"}
    text = harmonium("evaluate", deep, "--no-report", *sets(["samples=7", "seed=2"])).stdout
    assert f"{result.bound:.3f}" in text
    assert f"{result.mean:.3f}" in text


def test_growth_begins_with_the_first_rbm_and_ends_with_the_network(deep):
    """The first RBM's log Z is enumerated, so that its bound is its likelihood."""
    found = succeed("evaluate", deep, "--growth", "--no-report", "--set", "samples=7")
    first, last = found["growth"]
    data = hm.datasets.load("digits")
    rbm = hm.load(deep / "layer-1" / "model.safetensors")
    assert first["bound"] == pytest.approx(hm.log_likelihood(rbm, data).mean, abs=1e-4)
    assert first["estimate"] == pytest.approx(first["bound"])
    assert (last["bound"], last["estimate"]) == pytest.approx((found["bound"], found["mean"]))
    assert [own["units"] for own in found["growth"]] == [[10], [10, 6]]
    assert "10–6" in harmonium("evaluate", deep, "--growth", "--no-report").stdout


def test_growth_leaves_labels_out(trained_labels):
    found = succeed("evaluate", trained_labels, "--growth", "--no-report")
    model = hm.load(trained_labels / "model.safetensors")
    labelled = hm.datasets.load("digits", with_labels=True)
    assert found["error"] == error_rate(model, labelled.fixed("test"))
    pixels = hm.datasets.load("digits").test
    alone = hm.log_likelihood(model, pixels)
    assert found["growth"][-1]["bound"] == pytest.approx(alone.bound)
    assert found["growth"][-1]["bound"] > found["bound"] + 1


@pytest.mark.parametrize("start", ["noise", "data", "chains"])
def test_samples_of_a_label_have_it(trained_labels, tmp_path, start):
    out = tmp_path / "x.npy"
    draw = ("sample", trained_labels, "--n", "30", "--steps", "2", "--from", start)
    assert succeed(*draw, "--out", out, "--label", "3")["columns"] == 65
    rows = np.load(out)
    assert (rows[:, -1] == 3).all()
    assert set(np.unique(rows[:, :-1])) == {0, 1}
    succeed(*draw, "--out", out, "--force")
    assert len(np.unique(np.load(out)[:, -1])) > 1
    assert "one of 0, 1, 2" in refuse(2, *draw, "--out", out, "--force", "--label", "12")


def test_an_rbm_with_a_label_draws_it_too(tmp_path):
    pairs = ["hidden=8", "epochs=1", "rule=hybrid", "rule.chains=20"]
    succeed("train", "rbm", "--data", "digits", "--out", tmp_path / "run", *sets(pairs))
    draw = ("sample", tmp_path / "run", "--n", "20", "--steps", "3", "--label", "7", "--out")
    succeed(*draw, tmp_path / "x.csv")
    assert (np.loadtxt(tmp_path / "x.csv", delimiter=",")[:, -1] == 7).all()
    succeed(*draw, tmp_path / "x.png", "--means")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("gpu", "device: got 'gpu', expected cpu, cuda, cuda:1 or mps"),
        ("meta", "device: got 'meta', expected cpu, cuda, cuda:1 or mps"),
        ("cuda:99", "device: got 'cuda:99', expected cpu, or a device that PyTorch sees"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_any_work(tmp_path, name, expected):
    told = refuse(
        2, "train", "rbm", "--data", "digits", "--out", tmp_path / "x", *sets(["hidden=4", f"device={name}"])
    )
    assert expected in " ".join(told.split())
    assert not (tmp_path / "x").exists()


def test_a_device_is_that_of_the_model(monkeypatch):
    """Another one than the processor stands for one that this machine need not have."""
    monkeypatch.setattr("harmonium.cli._train.as_device", torch.device)
    for name in ("cpu", "meta"):
        wish = understand("rbm", "digits", ["hidden=4", f"device={name}"])
        assert wish.model.device == torch.device(name)
        assert "device" not in wish.options


def test_the_same_network_from_random_weights_stands_beside(trained_deep, tmp_path):
    run, rule = tmp_path / "classes", hm.CrossEntropy(adversarial=0.1)
    pairs = ["epochs=2", "batch_size=200", "dropout=0.2", "seed=3", "rule.adversarial=0.1"]
    succeed("finetune", trained_deep[0], "--out", run, "--beside", *sets(pairs))
    assert RunFolder(run).config()["rule"]["adversarial"] == 0.1
    data = hm.datasets.load("digits", binarisation="none", with_labels=True)
    sizes = hm.load(run / "model.safetensors").sizes
    succeed("evaluate", run)
    page = (run / "report.html").read_text()
    assert "Beside it" in page
    for name in ("sigmoid", "relu"):
        model = hm.MLP([64, *sizes], 10, activation=name, dropout=0.2, seed=3)
        options = {"epochs": 2, "batch_size": 200, "seed": 3, "patience": 2}
        hm.finetune(model, data, rule, **options)
        for key, value in model_of(run / "beside" / name).items():
            assert torch.equal(value, model.state_dict()[key])
        error = json.loads((run / "beside" / name / "evaluation.json").read_text())["test"]["error"]
        assert error == hm.models.error_rate(model, data.test)
        assert f"random weights, {name} units" in page
        assert f"{error:.2%}" in page
    refused = refuse(
        2, "finetune", trained_deep[0], "--out", tmp_path / "x", "--beside", "--set", "rule=wake-sleep"
    )
    assert "--beside: only for the classifier" in refused
    assert not (tmp_path / "x").exists()


def test_fine_tuning_makes_a_classifier_of_the_network(trained_deep, tuned):
    path, told = tuned
    data = hm.datasets.load("digits", binarisation="none", with_labels=True)
    model = hm.load(trained_deep[0] / "model.safetensors").to_mlp(10, dropout=0.2, seed=3)
    options = {"epochs": 4, "batch_size": 50, "seed": 3, "schedule": "constant", "patience": 4}
    history = hm.finetune(model, data, **options)
    for name, value in model_of(path).items():
        assert torch.equal(value, model.state_dict()[name])
    errors = [record["validation/error"] for record in history.records]
    assert told["epoch"] == 1 + errors.index(min(errors))
    for split, rows in (("validation", data.validation), ("test", data.test)):
        found = told["evaluation"][split]
        wrong = int((hm.predict(model, rows) != rows[:, -1]).sum())
        assert (found["wrong"], found["error"]) == (wrong, wrong / len(rows))
        assert found["standard_error"] == pytest.approx(
            (found["error"] * (1 - found["error"]) / len(rows)) ** 0.5
        )
        table = np.array(found["confusion"])
        assert table.sum() - table.trace() == wrong
        assert (table.sum(1) == np.bincount(rows[:, -1].int(), minlength=10)).all()
    assert told["evaluation"]["validation"]["error"] == min(errors)
    config = RunFolder(path).config()
    assert config["data"]["arguments"] == {"binarisation": "none", "with_labels": True}
    assert config["pretrained"]["run"] == str(trained_deep[0])


def test_a_classifier_can_be_evaluated_resumed_and_not_sampled(tuned, tmp_path):
    run = Path(shutil.copytree(tuned[0], tmp_path / "tuned"))
    text = harmonium("evaluate", run, "--no-report").stdout
    assert f"{tuned[1]['evaluation']['test']['error']:.2%}" in text
    assert "has no likelihood" in refuse(2, "evaluate", run, "--set", "runs=3")
    assert "draws no samples" in refuse(1, "sample", run, "--out", tmp_path / "x.npy")
    result = harmonium("resume", run, "--set", "epochs=5")
    assert result.exit_code == 0, result.output
    assert "With the weights of epoch" in result.stdout
    assert "harmonium sample" not in result.stdout


def test_fine_tuning_begins_where_the_network_is(deep, tmp_path):
    network = hm.load(deep / "model.safetensors")
    succeed("finetune", deep, "--out", tmp_path / "mlp", "--set", "epochs=0")
    assert_same(hm.load(tmp_path / "mlp" / "model.safetensors"), network.to_mlp(10))
    succeed("finetune", deep, "--out", tmp_path / "ae", *sets(["rule=reconstruction", "epochs=0"]))
    assert_same(hm.load(tmp_path / "ae" / "model.safetensors"), network.to_autoencoder())
    network.untie()
    succeed("finetune", deep, "--out", tmp_path / "dbn", *sets(["rule=wake-sleep", "epochs=0"]))
    assert_same(hm.load(tmp_path / "dbn" / "model.safetensors"), network)


def assert_same(first, second):
    """Check that two models have the same parameters, bit for bit."""
    expected = second.state_dict()
    assert first.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in first.state_dict().items())


def test_an_autoencoder_and_a_tuned_network_are_evaluated(deep, tmp_path):
    pairs = ["rule=reconstruction", "epochs=1", "batch_size=100"]
    told = succeed("finetune", deep, "--out", tmp_path / "ae", *sets(pairs))
    model = hm.load(tmp_path / "ae" / "model.safetensors")
    rows = hm.datasets.load("digits", binarisation="none").test
    squared = (model.reconstruct(rows).detach() - rows).square().mean()
    assert told["evaluation"]["test"]["mean_squared_error"] == pytest.approx(float(squared), rel=1e-5)
    pairs = ["rule=wake-sleep", "rule.chains=15", "epochs=1", "batch_size=100"]
    succeed("finetune", deep, "--out", tmp_path / "dbn", *sets(pairs))
    found = succeed("evaluate", tmp_path / "dbn", "--no-report", "--set", "samples=5")
    assert (found["chains"], found["binarisation"]) == (15, "sampled")
    assert found["bound"] < found["mean"]
    assert "growth: got 'dbn'" in refuse(2, "evaluate", tmp_path / "dbn", "--growth", "--no-report")
    draw = ("sample", tmp_path / "dbn", "--out", tmp_path / "x.png", "--n", "4", "--steps", "2")
    succeed(*draw, "--from", "chains", "--means")


def test_what_cannot_be_tuned_is_refused(run, deep, tmp_path):
    new = ("--out", tmp_path / "new")
    assert "expected a dbn's" in refuse(1, "finetune", run, *new)
    assert "no setting but of the rule" in refuse(
        2, "finetune", deep, *new, *sets(["rule=reconstruction", "dropout=0.5"])
    )
    assert "rule: unknown 'pcd', expected one of" in refuse(2, "finetune", deep, *new, "--set", "rule=pcd")
    assert "dropout: got 1.0" in refuse(2, "finetune", deep, *new, "--set", "dropout=1")
    assert "data.seed: got 7, expected no other split" in refuse(
        2, "finetune", deep, *new, "--set", "data.seed=7"
    )
    assert not (tmp_path / "new").exists()


def test_networks_begin_with_random_weights_too(tmp_path):
    mlp, ae = tmp_path / "mlp", tmp_path / "ae"
    pairs = ["hidden=[9,5]", "epochs=1", "model.activation=relu", "model.seed=1", 'masks=["random:6",null]']
    told = succeed(*MLP, mlp, *sets(pairs))
    assert told["evaluation"]["test"]["rows"] == 250
    model = hm.load(mlp / "model.safetensors")
    assert (model.sizes, model.activation, model.classes) == ([9, 5], ["relu", "relu"], 10)
    assert ((model.linears[0].weight != 0).sum(1) == 6).all()
    assert RunFolder(mlp).config()["data"]["arguments"] == {"with_labels": True, "binarisation": "none"}
    succeed("train", "autoencoder", "--data", "digits", "--out", ae, *sets(["hidden=[9,3]", "epochs=1"]))
    assert hm.load(ae / "model.safetensors").sizes == [9, 3]
    assert "classes" in refuse(
        2,
        "train",
        "mlp",
        "--data",
        "digits",
        "--out",
        tmp_path / "x",
        *sets(["hidden=3", "data.with_labels=false"]),
    )


# --- games ------------------------------------------------------------------------------------------


def test_a_game_is_trained_sampled_evaluated_and_reported(tmp_path):
    pairs = [
        "network.width=4",
        "network.latent=3",
        "epochs=2",
        "rule.loss=hinge",
        'rule.augment=["translation"]',
    ]
    out = tmp_path / "run"
    told = succeed("train", "gan", "--data", "digits", "--out", out, *sets([*pairs, "data.with_labels=true"]))
    assert told["last"]["epoch"] == 2
    assert {finding["name"] for finding in told["diagnosis"]} >= {"told from data", "spread of made rows"}
    model = hm.load(out / "model.safetensors")
    assert (model.generator.family.name, model.classes, model.shape) == ("dcgan", 10, (1, 8, 8))
    data = hm.datasets.load("digits", binarisation="none", with_labels=True)
    same = hm.GAN.of("dcgan", (8, 8), width=4, latent=3, classes=10)
    hm.fit(same, data, hm.Adversarial(loss="hinge", augment=["translation"]), epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), same.parameters(), strict=True))
    found = succeed("evaluate", out)
    assert found["rows"] == 250
    assert 0 <= found["told"] <= 1
    assert found["measures"] is None
    assert f"harmonium measure {out}" in harmonium("evaluate", out, "--no-report").stdout
    page = Path(found["report"]).read_text()
    assert f"This measures them: harmonium measure {out}" in page
    assert all(
        word in page for word in ("Interpolation", "Payoffs", "Told from data", "generative adversarial")
    )
    succeed("sample", out, "--out", tmp_path / "x.npy", "--n", "7", "--label", "3")
    drawn = torch.from_numpy(np.load(tmp_path / "x.npy"))
    clamp = torch.full((65,), torch.nan)
    clamp[-1] = 3
    assert torch.allclose(drawn, hm.sample(model, 7, clamp=clamp))
    succeed("sample", out, "--out", tmp_path / "x.png", "--n", "4")
    assert "no likelihood to estimate" in refuse(2, "evaluate", out, "--growth")
    assert "got 'chains'" in refuse(2, "sample", out, "--out", tmp_path / "y.png", "--from", "chains")
    assert harmonium("resume", out, *sets(["epochs=3"])).exit_code == 0


def test_a_folder_of_colour_images_is_for_games(tmp_path):
    from PIL import Image

    generator = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for number in range(20):
        image = Image.fromarray(generator.integers(0, 256, (18, 20, 3), np.uint8))
        image.save(tmp_path / "photos" / f"{number}.png")
    pairs = ["data.size=16", "network=modern", "network.width=2", "network.latent=2"]
    pairs = [*pairs, "epochs=7", "samples_every=1", "data.test=8"]
    out = tmp_path / "run"
    succeed("train", "gan", "--data", tmp_path / "photos", "--out", out, *sets(pairs))
    assert hm.load(out / "model.safetensors").shape == (3, 16, 16)
    succeed("sample", out, "--out", tmp_path / "x.png", "--n", "4")
    (out / "samples" / "epoch-x.png").write_bytes(b"")
    page = Path(succeed("evaluate", out)["report"]).read_text()
    assert "Interpolation" in page
    assert re.findall(r"<h3>Epoch (\d+)</h3>", page) == ["1", "3", "5", "7"]
    last = b64encode((out / "samples" / "epoch-00007.png").read_bytes()).decode()
    assert page.count(last) == 1


def test_a_file_of_integers_is_for_games_as_grey_values(tmp_path):
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8))
    typed = [
        "train",
        "gan",
        "--data",
        path,
        "--out",
        tmp_path / "run",
        *sets(["network.width=4", "epochs=1"]),
    ]
    expected = "data: got integers in images.npy, expected bits, reals, or grey values, as which --set"
    assert expected in refuse(2, *typed)
    assert not (tmp_path / "run").exists()
    assert succeed(*typed, *sets(["data.binarisation=none"]))["last"]["epoch"] == 1


def test_a_games_samples_are_measured_and_evaluate_shows_it(tmp_path):
    out, pairs = tmp_path / "run", ["network=mlp", "network.hidden=8", "network.judges=8", "epochs=1"]
    x = np.random.default_rng(0).uniform(size=(120, 3))
    np.save(tmp_path / "x.npy", x)
    whole = [*pairs, "visible=gaussian", "data.test=30", "data.validation=20", "averaging=0"]
    succeed("train", "gan", "--data", tmp_path / "x.npy", "--out", out, *sets(whole))
    found = succeed("measure", out, "--n", "30")
    assert (found["weights"], found["epoch"], list(found["rows"])) == (
        "raw",
        1,
        ["floor", "samples", "ceiling"],
    )
    assert succeed("evaluate", out, "--no-report")["measures"]["rows"] == found["rows"]
    told = harmonium("evaluate", out, "--no-report").stdout
    assert f"{found['rows']['samples']['frechet']:.4g}" in told
    assert "weights: raw. After epoch 1." in " ".join(told.split())


# --- data and demo ----------------------------------------------------------------------------------


def test_data_lists_all_sets_and_describes_one():
    names = [entry["name"] for entry in succeed("data")["data"]]
    assert names == list(hm.datasets.DATASETS)
    assert all(name in harmonium("data").stdout for name in names)
    told = succeed("data", "digits", "--set", "binarisation=threshold")
    assert told == hm.datasets.summary(hm.datasets.load("digits", binarisation="threshold"))
    assert "1,297" in harmonium("data", "digits").stdout


def test_the_demo_ends_with_commands_that_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_demo, "SETTINGS", ("hidden=8", "epochs=2", "rule.chains=20"))
    monkeypatch.setattr(_demo, "QUICK", ("hidden=8", "epochs=1", "rule.chains=20"))
    monkeypatch.setattr(_demo, "OTHERS", {})
    monkeypatch.setattr(_demo, "ESTIMATE", {"method": "bridge", "runs": 20, "betas": 50})
    first = succeed("demo")
    assert first["run"] == "harmonium-demo"
    assert Path(first["report"]).exists()
    assert first["evaluation"]["mean"] < 0
    assert first["families"] == {}
    monkeypatch.setattr(_demo, "write_report", lambda path: path / "report.html")
    text = harmonium("demo", "--quick").stdout
    assert Path("harmonium-demo-2", "evaluation.json").exists()
    commands = [line.split() for line in text.partition("Try next:")[2].splitlines() if line.strip()]
    assert len(commands) == 3
    for command in commands:
        assert command[0] == "harmonium"
        assert harmonium(*command[1:]).exit_code == 0


def test_the_demo_shows_all_families(tmp_path, monkeypatch):
    small = ("epochs=1", "batch_size=200")
    deep = ("hidden=[6,4]", "rule.chains=20", *small)
    games = ("network=dcgan", "network.width=2", "network.latent=3", *small)
    monkeypatch.setattr(_demo, "SETTINGS", ("hidden=8", "rule.chains=20", *small))
    others = {"boltzmann": small, "dbn": deep, "dbm": ("pretrain=rbm", *deep), "gan": games}
    assert others.keys() == _demo.OTHERS.keys()
    assert {"rbm", *others} == {n for n, kind in MODELS.items() if issubclass(kind, GenerativeModel)}
    monkeypatch.setattr(_demo, "OTHERS", others)
    monkeypatch.setattr(_demo, "ESTIMATE", {"method": "bridge", "runs": 20, "betas": 50})
    monkeypatch.setattr(_demo, "write_report", lambda path: path / "report.html")
    told = succeed("demo", "--out", tmp_path / "first")
    assert list(told["families"]) == list(others)
    for name, own in told["families"].items():
        assert own["run"] == str(tmp_path / f"first-{name}")
        assert hm.load(Path(own["run"]) / "model.safetensors").kind == name
    assert told["families"]["dbn"]["evaluation"]["bound"] < 0
    assert 0 <= told["families"]["gan"]["evaluation"]["told"] <= 1


# --- the package -------------------------------------------------------------------------------------


def test_public_names_are_those_that_type_checkers_see():
    tree = ast.parse(Path(hm.__file__).read_text("utf-8"))
    (block,) = (n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert sorted(seen) == sorted(hm.__all__)
    for name, module in seen.items():
        room = f"harmonium.{module or name}"
        value = getattr(hm, name)
        assert value is (getattr(sys.modules[room], name) if module else sys.modules[room])
    with pytest.raises(AttributeError, match="no attribute 'fti'"):
        _ = hm.fti


# --- deep Boltzmann machines ----------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [False, True])
def test_a_deep_boltzmann_machine_by_command(tmp_path, labelled):
    run = tmp_path / "dbm"
    pairs = [
        "hidden=[8,6]",
        "epochs=1",
        "batch_size=200",
        "rule=variational-pcd",
        "rule.chains=20",
        "rule.steps=1",
    ]
    pairs += [f"data.with_labels={str(labelled).lower()}"]
    pairs += ["likelihood_every=1", "likelihood.runs=10", "likelihood.betas=50", "max_norm=2"]
    succeed("train", "dbm", "--data", "digits", "--out", run, *sets(pairs))
    model = hm.load(run / "model.safetensors")
    assert [layer.size for layer in model.layers] == [64, 8, 6]
    assert model.classes == (10 if labelled else None)
    found = succeed("evaluate", run, *sets([*QUICK, "samples=5"]))
    assert found["bound"] <= found["mean"] + 4 * (found["standard_error"] + found["bound_error"])
    assert (found["error"] is not None) == labelled
    page = (run / "report.html").read_text()
    assert "A deep Boltzmann machine with 64 Bernoulli units as its visible layer" in page
    assert f"the bound on its mean log-likelihood is −{-found['bound']:.2f} nats" in page
    assert "Filters of hidden layer 2" in page
    assert "The variational bound on the log-likelihood, with the upper end of log Z." in page
    assert "The left half of rows of the test set is given" in page
    succeed("sample", run, "--out", tmp_path / "x.png", "--n", "4", "--steps", "2")
    assert (tmp_path / "x.png").stat().st_size > 0
    if labelled:
        kept, test = tmp_path / "kept.npy", hm.datasets.load("digits").fixed("test").float()
        np.save(kept, np.concatenate([np.full((1, 32), np.nan), np.ones((1, 32))], 1))
        draw = ("sample", run, "--n", "9", "--steps", "2", "--clamp")
        succeed(*draw, kept, "--label", "3", "--out", tmp_path / "both.npy")
        rows = np.load(tmp_path / "both.npy")
        assert (rows[:, 32:64] == 1).all()
        assert (rows[:, 64] == 3).all()
        succeed(*draw, "left", "--out", tmp_path / "half.npy")
        halves = np.load(tmp_path / "half.npy")[:, :64].reshape(9, 8, 8)
        assert (halves[:, :, :4] == test[:9].numpy().reshape(9, 8, 8)[:, :, :4]).all()
    assert "growth: only for a deep belief network" in refuse(2, "evaluate", run, "--growth", "--no-report")
    classes = tmp_path / "classes"
    told = succeed("finetune", run, "--out", classes, *sets(["epochs=1", "batch_size=200", "dropout=0.2"]))
    rows = hm.datasets.load("digits", binarisation="none", with_labels=True).test
    wrong = hm.models.error_rate(hm.load(classes / "model.safetensors"), rows)
    assert told["evaluation"]["test"]["error"] == wrong
    assert succeed("evaluate", classes)["error"] == wrong
    assert "Filters of hidden layer 2" in (classes / "report.html").read_text()
    assert "the only one for a dbm" in refuse(
        2, "finetune", run, "--out", tmp_path / "x", "--set", "rule=wake-sleep"
    )


def test_a_machine_of_multi_prediction_is_judged_by_multi_inference(tmp_path):
    run = tmp_path / "dbm"
    pairs = ["hidden=[8,6]", "epochs=3", "batch_size=100", "rule=multi-prediction", "rule.sweeps=3"]
    succeed("train", "dbm", "--data", "digits", "--out", run, *sets([*pairs, "data.with_labels=true"]))
    rows = hm.datasets.load("digits", with_labels=True).fixed("test")
    judge = ("evaluate", run, "--no-report", *sets(QUICK))
    for inference in ("mean-field", "multi-inference"):
        found = succeed(*judge, *sets([f"inference={inference}", "sweeps=2"]))
        model = hm.load(run / "model.safetensors")
        assert found["error"] == error_rate(model, rows, inference=inference, sweeps=2)
        assert (found["settings"]["inference"], found["settings"]["sweeps"]) == (inference, 2)
    assert "unknown 'gibbs', expected one of mean-field, multi-inference" in refuse(
        2, *judge, *sets(["inference=gibbs"])
    )


def test_only_the_label_of_a_machine_is_inferred(run):
    told = refuse(2, "evaluate", run, *sets(["inference=multi-inference"]))
    assert "inference: only for the label of a dbm, and this rbm infers none" in told


@pytest.mark.parametrize(("begin", "stages"), [("greedy", [1, 2, "joint"]), ("rbm", [1, "joint"])])
def test_a_deep_boltzmann_machine_begins_layer_by_layer(tmp_path, begin, stages):
    run = tmp_path / "dbm"
    pairs = ["hidden=[8,6]", f"pretrain={begin}", "batch_size=200", "rule.chains=20", "rule.steps=1"]
    counts = [1] * (len(stages) - 1) + [2]
    told = succeed("train", "dbm", "--data", "digits", "--out", run, *sets([*pairs, f"epochs={counts}"]))
    assert [end["layer"] for end in told["layers"]] == stages
    assert (told["epochs"], told["of"]) == (sum(counts), sum(counts))
    wish = understand("dbm", "digits", [*pairs, f"epochs={counts}"])
    model = hm.DBM([64, 8, 6])
    options = {} if begin == "greedy" else {"layers": 1}
    hm.pretrain(model, wish.data, hm.VariationalPCD(chains=20, steps=1), **wish.options, **options)
    for name, value in model_of(run).items():
        assert torch.equal(value, model.state_dict()[name])
    again = harmonium("resume", run, *sets([f"epochs={[*counts[:-1], 3]}"]))
    assert f"harmonium finetune {run} --out {run}-mlp" in again.stdout
    assert f"epoch {sum(counts) + 1}/{sum(counts) + 1}  all layers" in again.stderr
    assert "layer 1" in again.stdout
    found = succeed("evaluate", run, *sets([*QUICK, "samples=5"]))
    assert found["chains"] == 20
    page = (run / "report.html").read_text()
    assert "was trained for 3 epochs on" in page
    assert "after its RBMs had been trained layer by layer for" in page


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (
            "pretrain=layers",
            "pretrain: got 'layers', expected none, rbm or greedy|pretrain: unknown 'layers'",
        ),
        ("means=true", "means: only of training layer by layer"),
    ],
)
def test_what_is_no_pretraining_of_a_deep_boltzmann_machine_is_refused(tmp_path, pair, message):
    told = refuse(
        2, "train", "dbm", "--data", "digits", "--out", tmp_path / "run", *sets(["hidden=[8,6]", pair])
    )
    assert re.search(message, told), told
