"""Diagnostics of chains whose autocorrelation is known."""

import math

import numpy as np
import pytest
import torch
from scipy import signal

from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError
from harmonium.samplers import autocorrelation_time, effective_sample_size, split_rhat


def autoregression(rho, draws, chains, seed=0):
    """Return stationary chains x' = rho x + noise of unit variance."""
    noise = Stream(seed, "autoregression").normal(draws, chains, torch.float64).numpy()
    noise[1:] *= math.sqrt(1 - rho**2)
    return torch.from_numpy(signal.lfilter([1], [1, -rho], noise, axis=0).copy())


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, 0.97, -0.4])
@pytest.mark.parametrize("chains", [1, 8])
def test_autocorrelation_time_of_autoregressions(rho, chains):
    """It is (1 + rho) / (1 - rho); the estimate's error is about sqrt(2 (2 M + 1) / N) with M lags."""
    draws = 80_000 // chains
    tau = (1 + rho) / (1 - rho)
    error = math.sqrt(2 * (2 * 5 * max(tau, 1) + 1) / 80_000)
    estimate = autocorrelation_time(autoregression(rho, draws, chains))
    assert abs(estimate / tau - 1) < 4 * error
    size = effective_sample_size(autoregression(rho, draws, chains))
    assert size == pytest.approx(80_000 / estimate)


def test_effective_sample_size_predicts_the_error_of_the_mean():
    """Over many sets of chains, the variance of the mean is that of so many independent draws."""
    means, sizes = [], []
    for seed in range(150):
        draws = autoregression(0.8, 500, 4, seed)
        means.append(draws.mean())
        sizes.append(effective_sample_size(draws))
    found = torch.stack(means).var().item() * (sum(sizes) / len(sizes))
    assert abs(found - 1) < 4 * math.sqrt(2 / 149) + 0.05


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_rhat_of_chains_that_agree_is_one(rho):
    assert split_rhat(autoregression(rho, 5000, 10)) == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("shift", [0.5, 2.0, 10.0])
def test_rhat_of_separated_chains(shift):
    """Half of the chains stand ``shift`` deviations away: the variance between halves is known."""
    chains = autoregression(0.0, 5000, 10)
    chains[:, 5:] += shift
    between = (shift / 2) ** 2 * 20 / 19
    assert split_rhat(chains) == pytest.approx(math.sqrt(1 + between), rel=0.02)
    assert effective_sample_size(chains) < 1000


def test_rhat_sees_a_drift_within_one_chain():
    chain = autoregression(0.0, 2000, 1)
    assert split_rhat(chain) < 1.01
    assert split_rhat(chain + torch.linspace(0, 4, 2000)[:, None]) > 1.3


@pytest.mark.parametrize("value", [0.0, 1.0, -123.456, 0.1, 1e30])
def test_chains_that_never_move(value):
    """They agree if all stand in one place; how fast they forget it cannot be told."""
    still = torch.full((101, 4), value)
    assert split_rhat(still) == 1
    assert math.isnan(autocorrelation_time(still))
    assert math.isnan(effective_sample_size(still))
    apart = torch.ones(100, 4) * torch.arange(4.0)
    assert split_rhat(apart) == math.inf
    assert effective_sample_size(apart) < 10
    moved = still.clone()
    moved[3, 0] = value + max(1, abs(value))
    assert effective_sample_size(moved) > 0


@pytest.mark.parametrize("measure", [split_rhat, autocorrelation_time, effective_sample_size])
def test_arrays_are_taken_and_what_is_no_number_is_not(measure):
    draws = autoregression(0.7, 1000, 5)
    expected = measure(draws)
    for same in (draws.numpy(), draws.numpy().astype(">f8"), draws.tolist()):
        assert measure(same) == expected
    draws[7, 2] = math.nan
    assert math.isnan(measure(draws))
    for wrong in ("abc", None, [[None] * 4] * 4, np.zeros((4, 4), complex)):
        with pytest.raises(ArgumentTypeError, match=r"^draws: got "):
            measure(wrong)


@pytest.mark.parametrize("change", [lambda x: 3 * x - 7, lambda x: x.float(), lambda x: x.flip(1)])
def test_scale_precision_and_order_of_chains_do_not_matter(change):
    draws = autoregression(0.7, 1001, 5)
    for measure in (split_rhat, autocorrelation_time, effective_sample_size):
        assert measure(change(draws)) == pytest.approx(measure(draws), rel=1e-4)


@pytest.mark.parametrize("measure", [split_rhat, autocorrelation_time, effective_sample_size])
@pytest.mark.parametrize("shape", [(10,), (3, 4), (2, 3, 4), (0, 2), (9, 0)])
def test_wrong_shapes_are_refused(measure, shape):
    with pytest.raises(ArgumentError, match="draws"):
        measure(torch.zeros(shape))
