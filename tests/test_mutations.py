"""Known faults, put back in one at a time: the checks that guard against each must turn red.

A check that stays green whatever is done to the library checks nothing. So each is run twice: on the
library as it is, where it must pass, and with the fault in place, where it must raise AssertionError.
What a resumed run can forget has its place in ``test_resume.py``.
"""

from functools import cache

import numpy as np
import pytest
import torch
from _checks import (
    check_base_rates,
    check_batches,
    check_contrastive,
    check_convergence,
    check_gradient,
    check_log_partition,
    check_momentum,
    check_monitors,
    check_no_drift,
    check_no_gradient,
    check_persistent_chains,
    check_transition,
    equal_batch,
)
from _models import Exact, rbm

import harmonium as hm
from harmonium import kernels
from harmonium.learning import _moment_rule
from harmonium.likelihood import _ais, _log_partition
from harmonium.samplers import Gibbs
from harmonium.training._monitor import Monitor
from harmonium.training._source import Source

# --- the faults ---------------------------------------------------------------------------------


def sampler_that_never_moves(patch):
    """The state that a sweep returns is the one that it was given."""
    step = Gibbs.step
    patch.setattr(
        Gibbs, "step", lambda self, model, state, stream: (state, step(self, model, state, stream)[1])
    )


def chains_that_never_move(patch):
    """Each update starts from the chains that the first one began with."""
    negative = hm.PCD.negative

    def forgetful(self, model, data, fields, state, stream):
        sample, _ = negative(self, model, data, fields, state, stream)
        return sample, {key: x for key, x in state.items() if key.startswith("chain.")}

    patch.setattr(hm.PCD, "negative", forgetful)


def sweep_of_stale_fields(patch):
    """The hidden units are drawn given the visible ones of the step before."""

    @torch.no_grad()
    def step(self, model, state, stream):
        state, fields = dict(state), {block: model.field(block, state) for block in model.blocks()}
        mean = torch.empty_like(state["hidden"])
        state["visible"] = model.visible.sample_(fields["visible"], stream)
        state["hidden"] = model.hidden.sample_(fields["hidden"], stream, mean)
        return state, {"mean": mean}

    patch.setattr(Gibbs, "step", step)


def gaussian_units_without_noise(patch):
    """A Gaussian layer returns its mean for a sample."""
    patch.setattr(kernels, "gaussian", lambda field, draw, precision, sample: sample.copy_(field / precision))


def batch_divided_by_its_full_size(patch):
    """The last rows of an epoch count as a part of a batch that is not there."""
    patch.setattr(Source, "_shares", lambda self, index: shares_of(self, index) / self.batch_size)


def batch_divided_by_the_number_of_chains(patch):
    """Data are summed, and divided by the number of chains."""
    shares = hm.PCD.shares

    def wrong(self, batch, sample):
        return shares(self, batch._replace(weights=batch.weights * len(batch.rows) / self.chains), sample)

    patch.setattr(hm.PCD, "shares", wrong)


def chains_divided_by_the_batch(patch):
    """Chains are summed, and divided by the number of rows of data."""

    def wrong(self, batch, sample):
        n = len(sample["visible"])
        return torch.cat((-batch.weights, (batch.weights.sum() / len(batch.rows)).expand(n)))

    patch.setattr(hm.PCD, "shares", wrong)


def weights_of_the_batch_alone(patch):
    """Rows that weigh much in a batch of such rows count as if they weighed little."""

    def wrong(self, index):
        own = shares_of(self, index)
        return own / own.sum()

    patch.setattr(Source, "_shares", wrong)


def shares_of(source, index):
    """Return the weights of rows, relative to the mean of all rows."""
    if source.weights is None:
        return torch.ones(len(index), dtype=source.unit.bias.dtype)
    return source.weights[index].to(source.unit.bias)


def centring_without_the_biases(patch):
    """The weights take the centred step, and the biases the plain one."""
    centre = _moment_rule.centre

    def wrong(model, offsets, rates):
        kept = [layer.bias.grad.clone() for layer in (model.visible, model.hidden)]
        centre(model, offsets, rates)
        for layer, plain in zip((model.visible, model.hidden), kept, strict=True):
            layer.bias.grad.copy_(plain)

    patch.setattr(_moment_rule, "centre", wrong)


def momentum_times_the_rate(patch):
    """What is left of the last step is multiplied by the learning rate once more."""

    class Shrinking(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            for group in self.param_groups:
                for p in group["params"]:
                    self.state[p]["momentum_buffer"].mul_(group["lr"])

    patch.setattr(torch.optim, "SGD", Shrinking)


def path_that_stops_early(patch):
    """The last inverse temperature, which is 1, is left out."""
    schedule = _log_partition.schedule
    patch.setattr(_log_partition, "schedule", lambda *arguments: schedule(*arguments)[:-1])


def uniform_start(patch):
    """Annealing starts from uniform states, or from unit normals, although base rates are known."""

    def init(self, model):
        layers = {block: model.layer(block) for block in model.blocks()}
        self.biases = {block: torch.zeros_like(layer.bias) for block, layer in layers.items()}
        self.log_partition = sum(float(u.log_partition(self.biases[b])) for b, u in layers.items())
        self.kept = ("visible",)

    patch.setattr(_ais.Base, "__init__", init)


def start_from_the_visible_biases(patch):
    """Annealing starts from the biases although base rates are known."""
    init = _ais.Base.__init__

    def wrong(self, model):
        rates = model.base_rates.clone()
        model.base_rates.fill_(torch.nan)
        init(self, model)
        model.base_rates.copy_(rates)

    patch.setattr(_ais.Base, "__init__", wrong)


def validation_that_is_training(patch):
    """Both scores are of training rows."""
    init = Monitor.__init__

    def wrong(self, train, validation, *arguments):
        init(self, train, train[: len(validation)], *arguments)

    patch.setattr(Monitor, "__init__", wrong)


def splits_that_are_swapped(patch):
    """Each split's score has the other's name."""
    init = Monitor.__init__
    patch.setattr(
        Monitor,
        "__init__",
        lambda self, train, validation, *arguments: init(self, validation, train, *arguments),
    )


def training_scored_on_the_last_batch(patch):
    """The training score is that of the rows which were just learnt."""
    score_the_last_batch(patch, "train")


def validation_scored_on_the_last_batch(patch):
    """The validation score is that of the rows which were just learnt."""
    score_the_last_batch(patch, "validation")


def score_the_last_batch(patch, split):
    """Put the batch of the last update in the place of a split's rows."""
    update, epoch, last = hm.PCD.update, Monitor.epoch, []

    def watch(self, model, batch, *arguments):
        last[:] = [batch.values]
        return update(self, model, batch, *arguments)

    def wrong(self, model, state):
        self.probes[split] = last[0]
        return epoch(self, model, state)

    patch.setattr(hm.PCD, "update", watch)
    patch.setattr(Monitor, "epoch", wrong)


# --- the checks ---------------------------------------------------------------------------------

BITS = ("bernoulli", "bernoulli")
GAUSSIAN = ("gaussian", "bernoulli")
UNDER_GAUSSIAN = ("spin", "gaussian")
WEIGHTS = (torch.arange(82) % 5).double()
CD, PCD = hm.CD(steps=2), hm.PCD(chains=37)
PLAIN = hm.PCD(chains=130, centred=False)


def centred(rule, pair=BITS):
    """Check a centred gradient on rows that another machine draws."""
    v = Exact(rbm(pair, seed=1)).sample(25, np.random.default_rng(0))["visible"]
    check_gradient(rule, rbm(pair), equal_batch(v))


def no_gradient(pair):
    """Check that data and chains of one machine agree."""
    model = rbm(pair, learn_precision=pair[0] == "gaussian")
    check_no_gradient(PLAIN, model, model)


CHECKS = {
    "drift": lambda: check_no_drift(rbm(BITS), 1),
    "drift, Gaussian below": lambda: check_no_drift(rbm(GAUSSIAN), 1),
    "drift, Gaussian above": lambda: check_no_drift(rbm(UNDER_GAUSSIAN), 1),
    "convergence": lambda: check_convergence(rbm(BITS, scale=0.5)),
    "one step": lambda: check_transition(rbm(BITS)),
    "one step, Gaussian below": lambda: check_transition(rbm(GAUSSIAN)),
    "CD-1": lambda: check_contrastive(rbm(BITS, (2, 2), 1.5), 1),
    "CD-3": lambda: check_contrastive(rbm(BITS, (2, 2), 1.5), 3),
    "CD-3, Gaussian above": lambda: check_contrastive(rbm(UNDER_GAUSSIAN, (2, 2), 1.5), 3),
    "chains from the model": lambda: check_persistent_chains(rbm(BITS), 3),
    "chains from one state": lambda: check_persistent_chains(rbm(BITS, scale=0.5), 40, together=True),
    "no gradient, Gaussian below": lambda: no_gradient(GAUSSIAN),
    "batches of CD": lambda: check_batches(CD, rbm(BITS)),
    "batches of PCD": lambda: check_batches(PCD, rbm(BITS)),
    "weighted batches of CD": lambda: check_batches(CD, rbm(BITS), WEIGHTS),
    "weighted batches of PCD": lambda: check_batches(PCD, rbm(BITS), WEIGHTS),
    "centred CD": lambda: centred(CD),
    "centred PCD": lambda: centred(PCD),
    "momentum": check_momentum,
    "log Z": lambda: check_log_partition(rbm(BITS)),
    "log Z, Gaussian below": lambda: check_log_partition(rbm(GAUSSIAN)),
    "base rates": lambda: check_base_rates(rbm(BITS)),
    "base rates, categorical": lambda: check_base_rates(rbm(("categorical", "spin"))),
    "base rates, Gaussian": lambda: check_base_rates(rbm(GAUSSIAN)),
    "scores": lambda: check_monitors(as_dataset=False),
    "scores of a data set": lambda: check_monitors(as_dataset=True),
}

GUARDS = {
    sampler_that_never_moves: ["convergence", "one step", "CD-1", "chains from one state"],
    chains_that_never_move: ["chains from one state"],
    sweep_of_stale_fields: ["drift", "one step", "CD-1", "CD-3", "chains from the model"],
    gaussian_units_without_noise: [
        *("drift, Gaussian below", "drift, Gaussian above", "one step, Gaussian below"),
        *("CD-3, Gaussian above", "no gradient, Gaussian below", "log Z, Gaussian below"),
    ],
    batch_divided_by_its_full_size: ["batches of CD", "batches of PCD", "weighted batches of PCD"],
    batch_divided_by_the_number_of_chains: ["batches of PCD"],
    chains_divided_by_the_batch: ["batches of PCD", "centred PCD"],
    weights_of_the_batch_alone: ["weighted batches of CD", "weighted batches of PCD"],
    centring_without_the_biases: ["centred CD", "centred PCD", "batches of CD"],
    momentum_times_the_rate: ["momentum"],
    path_that_stops_early: ["log Z", "log Z, Gaussian below"],
    uniform_start: ["base rates", "base rates, categorical", "base rates, Gaussian"],
    start_from_the_visible_biases: ["base rates", "base rates, categorical", "base rates, Gaussian"],
    validation_that_is_training: ["scores", "scores of a data set"],
    splits_that_are_swapped: ["scores", "scores of a data set"],
    training_scored_on_the_last_batch: ["scores", "scores of a data set"],
    validation_scored_on_the_last_batch: ["scores", "scores of a data set"],
}


@cache
def passes(label):
    """Run a check, once for all faults, on the library as it is."""
    CHECKS[label]()


@pytest.mark.parametrize(
    ("fault", "label"),
    [
        pytest.param(fault, label, id=f"{fault.__name__}-{label}")
        for fault, labels in GUARDS.items()
        for label in labels
    ],
)
def test_a_check_turns_red(monkeypatch, fault, label):
    passes(label)
    fault(monkeypatch)
    with pytest.raises(AssertionError):
        CHECKS[label]()


def test_every_check_guards_against_something():
    assert set(CHECKS) == {label for labels in GUARDS.values() for label in labels}
