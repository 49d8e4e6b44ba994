"""Findings: each fault of a run is found, and a run without it is not accused of it."""

import json
import math

import numpy as np
import pytest
import torch
from _runs import bits, same, train
from typer.testing import CliRunner

import harmonium as hm
from harmonium.cli import app
from harmonium.cli._train import start, understand
from harmonium.errors import ArgumentError
from harmonium.report import open_run, write_report
from harmonium.report._facts import diagnostics, summary, title
from harmonium.training import Finding, History, diagnose

CHAINS = ("R-hat of the chains", "autocorrelation time", "effective samples")


def machine(coupling=0.0, columns=6, hidden=4):
    """Return a machine whose units agree with each other, the more the stronger they are coupled."""
    model = hm.RBM(columns, hidden)
    with torch.no_grad():
        model.weight.fill_(coupling)
        model.hidden.bias.fill_(-coupling * columns / 2)
        model.visible.bias.fill_(-coupling * hidden / 2)
    return model


def history(model, record=None, chains=None):
    """Return what a run of one epoch might have left."""
    return History(model=model, records=[record or {}], chains=chains, stopped="")


def found(model, past, data=None, **options):
    """Return the findings by their names."""
    findings = diagnose(model, past, bits(200) if data is None else data, **options)
    assert all(isinstance(finding, Finding) for finding in findings)
    for finding in findings:
        assert finding.verdict in ("good", "bad", "unknown")
        assert (finding.value is None) == (finding.verdict == "unknown")
        assert finding.advice.endswith(".")
        assert finding.advice.count(". ") == 0
        json.dumps(finding.to_dict(), allow_nan=False)
    names = [finding.name for finding in findings]
    assert len(names) == len({*names})
    return {finding.name: finding for finding in findings}


def verdicts(findings):
    """Return the verdicts by name."""
    return {name: finding.verdict for name, finding in findings.items()}


# --- chains -------------------------------------------------------------------------------------


def test_chains_that_mix_are_good():
    chains = torch.randint(0, 2, (100, 6), generator=torch.Generator().manual_seed(0))
    findings = found(machine(0.2), history(machine(), chains=chains))
    assert {findings[name].verdict for name in CHAINS} == {"good"}
    assert findings["R-hat of the chains"].value == pytest.approx(1, abs=0.02)
    assert findings["autocorrelation time"].value < 3
    assert findings["effective samples"].value > 100 * 200 / 3


def test_chains_that_stay_where_they_are_are_bad():
    """Two clusters of different free energies, which no chain leaves."""
    model = machine(4.0)
    with torch.no_grad():
        model.hidden.bias -= 0.5
    chains = torch.zeros(100, 6).index_fill_(0, torch.arange(50), 1)
    findings = found(model, history(model, chains=chains))
    assert {findings[name].verdict for name in CHAINS[:2]} == {"bad"}
    assert findings["R-hat of the chains"].value > 2
    assert "tempered-pcd" in findings["R-hat of the chains"].advice


def test_few_chains_are_worth_few_draws():
    chains = torch.zeros(1, 6)
    for n, verdict in ((1, "bad"), (100, "good")):
        findings = found(machine(0.1), history(machine(), chains=chains.repeat(n, 1)), steps=100)
        assert findings["effective samples"].verdict == verdict


def test_chains_whose_energies_never_change_are_not_praised():
    """Nor those of an evaluation that went through JSON, which holds no NaN."""
    model = machine()
    past = history(model, chains=torch.zeros(20, 6))
    told = {"rhat": 1.0, "autocorrelation_time": None, "chain_ess": None}
    result = hm.log_likelihood(model, bits()).to_dict()
    for evaluation in (None, {**result, "log_partition": {**result["log_partition"], "diagnostics": told}}):
        findings = found(model, past, evaluation=evaluation)
        assert [findings[name].verdict for name in CHAINS] == ["good", "unknown", "unknown"]


def test_no_chains_are_unknown_but_for_an_evaluation():
    model = train(rule=hm.CD()).model
    assert verdicts(found(model, history(model)))["R-hat of the chains"] == "unknown"
    result = hm.log_likelihood(model, bits(), method="bridge", runs=30, betas=50, equilibrate=200)
    findings = found(model, history(model), evaluation=result.to_dict())
    for name, key in zip(CHAINS, ("rhat", "autocorrelation_time", "chain_ess"), strict=True):
        assert findings[name].value == result.log_partition.diagnostics[key]


def test_chains_of_coupled_hidden_units_are_judged_too():
    model = hm.BoltzmannMachine(6, 3)
    findings = found(model, history(model, chains=torch.zeros(20, 6)))
    assert {findings[name].verdict for name in CHAINS} == {"good"}
    alone = hm.BoltzmannMachine(hm.Spin(6))
    findings = found(alone, history(alone, chains=torch.ones(20, 6)), 2 * bits().int() - 1)
    assert findings["R-hat of the chains"].verdict == "good"
    assert "dead hidden units" not in findings


def test_the_steps_have_a_seed_of_their_own():
    past = history(machine(), chains=torch.zeros(20, 6))
    one, again, other = (found(machine(0.1), past, seed=seed) for seed in (0, 0, 1))
    assert one == again
    assert one["R-hat of the chains"] != other["R-hat of the chains"]


def test_swap_rates_are_judged_where_there_are_some():
    assert "least swap rate" not in found(machine(), history(machine()))
    for rate, verdict in ((0.02, "bad"), (0.4, "good")):
        record = {"rule/swap_rate": 0.5, "rule/least_swap_rate": rate}
        finding = found(machine(), history(machine(), record))["least swap rate"]
        assert (finding.value, finding.verdict) == (rate, verdict)
    past = train(rule=hm.TemperedPCD(chains=5, replicas=3))
    finding = found(past.model, past, bits())["least swap rate"]
    assert finding.value == past.records[-1]["rule/least_swap_rate"]


# --- hidden units -------------------------------------------------------------------------------


@pytest.mark.parametrize(("unit", "low", "high"), [(hm.Bernoulli, 0.0, 1.0), (hm.Spin, -1.0, 1.0)])
def test_dead_and_saturated_units_are_counted(unit, low, high):
    """By their mean over the rows: under one hundredth of the way from low to high, or over 99."""
    model = hm.RBM(6, unit(10))
    shares = torch.tensor([0.001, 0.009, 0.011, 0.3, 0.5, 0.5, 0.6, 0.989, 0.991, 0.9999])
    with torch.no_grad():
        model.weight.zero_()
        model.hidden.bias.copy_(model.hidden.natural(low + (high - low) * shares))
    findings = found(model, history(model))
    for name in ("dead hidden units", "saturated hidden units"):
        assert (findings[name].value, findings[name].shown, findings[name].verdict) == (2, "2 of 10", "bad")
    fresh = found(hm.RBM(6, unit(10)), history(model))
    assert {fresh[name].verdict for name in ("dead hidden units", "saturated hidden units")} == {"good"}


def test_a_categorical_unit_that_is_always_in_one_state_is_saturated():
    model = hm.RBM(6, hm.Categorical(4, 3))
    with torch.no_grad():
        model.hidden.bias.view(4, 3)[1, 2] = 9.0
    findings = found(model, history(model))
    assert (findings["dead hidden units"].value, findings["saturated hidden units"].value) == (0, 1)


@pytest.mark.parametrize("layers", [[6, 5], [6, 5, 4]])
def test_a_collapsed_layer_is_found_in_any_depth(layers):
    """And where hidden layers are coupled to each other, what keeps them from it is named."""
    model = hm.DBM(layers)
    with torch.no_grad():
        model.layers[-1].bias.fill_(9.0)
    finding = found(model, history(model))["saturated hidden units"]
    assert (finding.value, finding.verdict) == (layers[-1], "bad")
    assert ("hidden_pace=0.2" in finding.advice) == (len(layers) == 3)


def test_real_hidden_units_are_not_judged():
    model = hm.RBM(6, hm.ReLU(4))
    assert verdicts(found(model, history(model)))["dead hidden units"] == "unknown"


# --- weights, rows and likelihoods --------------------------------------------------------------


def test_weights_that_still_move_are_bad():
    for moved, verdict in ((0.5, "bad"), (0.01, "good")):
        finding = found(machine(), history(machine(), {"weight/update": moved}))["weight/update"]
        assert (finding.value, finding.verdict) == (moved, verdict)
    past = train()
    assert found(past.model, past, bits())["weight/update"].value == past.records[-1]["weight/update"]


def test_a_gap_between_rows_seen_and_not_seen_is_overfitting():
    model = machine()
    with torch.no_grad():
        model.visible.bias.fill_(0.7)
    ours, theirs = torch.ones(300, 6), torch.ones(300, 6)
    ours[:100, 0] = 0
    theirs[:200, 0] = 0
    fault = found(model, history(model), ours, validation=theirs)["free-energy gap"]
    assert fault.verdict == "bad"
    assert fault.value == pytest.approx(0.7 / 3, rel=1e-4)
    error = 0.7 * math.sqrt(2 * (2 / 9) / 299)
    assert fault.shown == f"{0.7 / 3:.3g} ± {error:.2g} nats"
    assert found(model, history(model), ours, validation=ours)["free-energy gap"].verdict == "good"
    assert found(model, history(model), theirs, validation=ours)["free-energy gap"].verdict == "good"
    few = found(model, history(model), ours[99:102], validation=theirs[198:201])["free-energy gap"]
    assert few.verdict == "good", "of so few rows it is within its error"
    assert found(model, history(model), ours)["free-energy gap"].verdict == "unknown"


def test_a_data_set_brings_its_own_validation_rows():
    data = hm.datasets.from_array(bits(100).numpy(), validation=bits(60, seed=9).numpy())
    model = train(data).model
    with torch.no_grad():
        gap = float(model.free_energy(data.validation).mean() - model.free_energy(data.train).mean())
    assert found(model, history(model), data)["free-energy gap"].value == pytest.approx(gap, rel=1e-4)


def test_a_likelihood_that_is_not_trusted_says_why():
    model = machine()
    assert found(model, history(model))["likelihood"].verdict == "unknown"
    exact = hm.log_likelihood(model, bits()).to_dict()
    assert found(model, history(model), evaluation=exact)["likelihood"].verdict == "good"
    bad = found(model, history(model), evaluation={**exact, "trusted": False, "reason": "the ends cross"})
    assert (bad["likelihood"].verdict, bad["likelihood"].advice) == ("bad", "The ends cross.")
    past = train(likelihood_every=1, likelihood={"method": "exact"})
    assert found(past.model, past, bits())["likelihood"].verdict == "good"
    doubted = {"log_partition": {**past.records[-1]["log_partition"], "trusted": False, "reason": "no"}}
    assert found(model, history(model, doubted))["likelihood"].verdict == "bad"


def test_mistakes_are_named():
    with pytest.raises(ArgumentError, match=r"^steps: got 7, expected an integer of at least 8"):
        diagnose(machine(), history(machine()), bits(), steps=7)


# --- records, the command line and the report -----------------------------------------------------


def test_records_hold_what_the_rule_measured(tmp_path):
    rule = hm.TemperedPCD(chains=5, replicas=3)
    past = train(rule=rule, out=tmp_path / "run")
    for name in ("swap_rate", "least_swap_rate", "round_trips"):
        assert all(f"rule/{name}" in record for record in past.records)
    assert all(not name.startswith("rule/") for name in train().records[0])


def test_a_run_that_was_killed_before_its_record_has_it_all_the_same(tmp_path):
    def killed(record):
        raise InterruptedError

    rule = hm.TemperedPCD(chains=5, replicas=3)
    options = {"rule": rule, "checkpoint_every": 1e-9}
    with pytest.raises(InterruptedError):
        train(out=tmp_path / "run", callback=killed, **options)
    assert same(hm.resume(tmp_path / "run", bits()), train(**options))


def test_the_command_line_shows_what_was_found(tmp_path):
    pairs = ["hidden=8", "epochs=1", "rule.chains=20", "batch_size=200"]
    words = ["train", "rbm", "--data", "digits", *(part for pair in pairs for part in ("--set", pair))]
    told = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "a"), "--json"])
    diagnosis = json.loads(told.stdout)["diagnosis"]
    run = open_run(tmp_path / "a")
    past = History(model=run.model, records=run.records, chains=run.chains, stopped="")
    assert diagnosis == [finding.to_dict() for finding in diagnose(run.model, past, run.data)]
    assert {entry["name"] for entry in diagnosis} > {*CHAINS, "dead hidden units", "free-energy gap"}
    shown = CliRunner().invoke(app, ["resume", str(tmp_path / "a")]).stdout
    for entry in diagnosis:
        assert entry["name"].split()[0] in shown
        assert entry["verdict"] in shown


def rows_on_disk(folder, kind):
    """Train a small machine of a kind on rows in a file, and return its run."""
    np.save(folder / "rows.npy", bits(60).numpy())
    pairs = {"rbm": ["hidden=3"], "boltzmann": ["hidden=3", "model.hidden_edges=False"]}[kind]
    start(understand(kind, str(folder / "rows.npy"), [*pairs, "epochs=1"]), folder / "run")
    return open_run(folder / "run")


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        (
            "rbm",
            "RBM 6–3 on rows.npy",
            "A restricted Boltzmann machine with 6 Bernoulli units as its visible layer and",
        ),
        (
            "boltzmann",
            "Boltzmann machine 6–3",
            "A Boltzmann machine with 6 Bernoulli units as its visible layer, coupled",
        ),
    ],
)
def test_the_report_names_the_machine_and_judges_the_run(tmp_path, kind, name, sentence):
    run = rows_on_disk(tmp_path, kind)
    assert title(run).startswith(name)
    assert summary(run)[0].startswith(sentence)
    table = diagnostics(run)
    assert table.head == ("quantity", "value", "verdict", "what it tells")
    past = History(model=run.model, records=run.records, chains=run.chains, stopped="")
    expected = [(f.name, f.verdict, f.advice) for f in diagnose(run.model, past, run.data)]
    assert [(row[0], *row[2:]) for row in table.rows[: len(expected)]] == expected
    assert len({row[0] for row in table.rows}) == len(table.rows)
    text = write_report(tmp_path / "run", samples=4, steps=2).read_text("utf-8")
    assert "The chains agree with each other." in text


# --- what was learnt ----------------------------------------------------------------------------


@pytest.mark.parametrize(("coupling", "verdict"), [(0.0, "bad"), (2.0, "good")])
def test_a_model_that_has_learnt_nothing_is_told_from_one_that_has(coupling, verdict):
    """Rows of two kinds, all zeros and all ones, and a machine whose gain is known by enumeration."""
    rows = torch.tensor([0.0, 1.0])[:, None].repeat(100, 6)
    model = machine(coupling)
    model.base_rates.fill_(0.5)
    log_z = hm.log_partition(model, method="exact")
    gain = -float(model.free_energy(rows).detach().mean()) - log_z.value + 6 * math.log(2)
    finding = found(model, history(model), rows, evaluation={"log_partition": log_z.to_dict()})
    finding = finding["over independent units"]
    assert finding.verdict == verdict
    assert finding.value == pytest.approx(gain, abs=1e-5)
