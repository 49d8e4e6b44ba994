"""Statistics of sequences against loops, corrections against closed forms, couplings against sums."""

import itertools
import math

import numpy as np
import pytest
import torch

import harmonium as hm
from harmonium import metrics
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.models import effective_couplings

ROWS, SITES, STATES = 50, 4, 3


def _codes(n=ROWS):
    return torch.randint(STATES, (n, SITES), generator=torch.Generator().manual_seed(0))


def _weights():
    return torch.rand(ROWS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def _moment(codes, weights, at):
    """Return the weighted share of rows in which all sites have the states asked for."""
    hits = [all(row[i] == a for i, a in at) for row in codes.tolist()]
    return float(weights @ torch.tensor(hits).double() / weights.sum())


def _central(codes, weights, at):
    """Return a central moment, term by term of its product."""
    ones = [_moment(codes, weights, [pair]) for pair in at]
    products = [
        math.prod((row[i] == a) - f for (i, a), f in zip(at, ones, strict=True)) for row in codes.tolist()
    ]
    return float(weights @ torch.tensor(products, dtype=torch.float64) / weights.sum())


def test_frequencies_and_correlations_equal_loops():
    codes, weights = _codes(), _weights()
    one = metrics.one_site_frequencies(codes, STATES, weights)
    two = metrics.two_site_frequencies(codes.numpy(), STATES, weights)
    connected = metrics.connected_correlations(codes, STATES, weights)
    for i, a, j, b in itertools.product(range(SITES), range(STATES), repeat=2):
        assert one[i, a] == pytest.approx(_moment(codes, weights, [(i, a)]), abs=1e-12)
        assert two[i, a, j, b] == pytest.approx(_moment(codes, weights, [(i, a), (j, b)]), abs=1e-12)
        assert connected[i, a, j, b] == pytest.approx(_central(codes, weights, [(i, a), (j, b)]), abs=1e-12)


def test_a_pseudocount_mixes_with_the_uniform_distribution():
    codes, share = _codes(), 0.3
    two = metrics.two_site_frequencies(codes, STATES, pseudocount=share)
    one = metrics.one_site_frequencies(codes, STATES, pseudocount=share)
    assert torch.allclose(two.sum((1, 3)), torch.ones(SITES, SITES).double())
    assert torch.allclose(two.sum(3), one[..., None].expand(SITES, STATES, SITES))
    plain = metrics.two_site_frequencies(codes, STATES)
    assert torch.allclose(two[0, :, 1], 0.7 * plain[0, :, 1] + 0.3 / 9)
    assert torch.equal(two[2, :, 2], one[2].diag())


def test_third_order_correlations_equal_loops():
    codes, weights = _codes(), _weights()
    triplets = torch.tensor([[0, 1, 3], [1, 2, 3]])
    found = metrics.third_order_correlations(codes, STATES, triplets, weights)
    for t, states in itertools.product(range(2), itertools.product(range(STATES), repeat=3)):
        at = list(zip(triplets[t].tolist(), states, strict=True))
        assert found[(t, *states)] == pytest.approx(_central(codes, weights, at), abs=1e-12)


def test_triplets_are_of_different_sites():
    triplets = metrics.sample_triplets(5, 500)
    assert bool((triplets.diff(dim=1) > 0).all())
    assert len(triplets.unique(dim=0)) == math.comb(5, 3)


def test_agreement_is_that_of_least_squares():
    x = torch.randn(100, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    noise = torch.randn(100, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = 0.5 * x + 3 + noise
    found = metrics.agreement(x, y)
    assert found.pearson == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert found.slope == pytest.approx(np.polyfit(x, y, 1)[0])


def test_correction_takes_away_what_sites_have_in_common():
    site = torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)
    matrix = torch.outer(site, site)
    mean = torch.tensor([site[i] * (site.sum() - site[i]) / 3 for i in range(4)]).double()
    expected = matrix - torch.outer(mean, mean) / (mean.sum() / 4)
    assert torch.allclose(metrics.average_product_correction(matrix), expected.fill_diagonal_(0))
    assert metrics.average_product_correction(torch.ones(5, 5)).abs().max() < 1e-12


def test_contacts_find_the_coupled_pair_in_any_gauge():
    couplings = torch.zeros(6, 3, 6, 3, dtype=torch.float64)
    couplings[0, :, 5] = couplings[5, :, 0] = torch.eye(3)
    couplings[1, :, 4] = 9.0
    couplings[4, :, 1] = 9.0
    first = metrics.contacts(couplings, separation=3)
    assert first[0][:2] == (0, 5)
    assert len(first) == 6
    assert metrics.coupling_norms(metrics.zero_sum(couplings))[0, 5] == pytest.approx(math.sqrt(2))
    assert metrics.coupling_norms(couplings, gap=0)[0, 5] == pytest.approx(math.sqrt(2))


def test_precision_passes_over_pairs_of_unknown_distance():
    apart = torch.full((4, 4), 9.0)
    apart[0, 3] = torch.nan
    apart[0, 2] = 7.9
    ranked = [(0, 3), (0, 2), (1, 3)]
    assert metrics.contact_precision(ranked, apart, 1) == 1
    assert metrics.contact_precision(ranked, apart, 2) == 0.5
    with pytest.raises(ArgumentError, match="top: got 3, expected at most the 2"):
        metrics.contact_precision(ranked, apart, 3)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: metrics.one_site_frequencies([[0]], 2), ArgumentTypeError, "codes: got list"),
        (lambda: metrics.one_site_frequencies(_codes(), 2), DataError, "expected a code in 0 ... 1"),
        (lambda: metrics.one_site_frequencies(_codes(), 3, -_weights()), DataError, "weights"),
        (
            lambda: metrics.two_site_frequencies(_codes(), 3, pseudocount=2),
            ArgumentError,
            "pseudocount: got 2",
        ),
        (
            lambda: metrics.third_order_correlations(_codes(), 3, torch.tensor([[0, 1, 4]])),
            DataError,
            "sites",
        ),
        (lambda: metrics.sample_triplets(2, 1), ArgumentError, "sites: got 2"),
        (lambda: metrics.agreement(torch.ones(3), torch.arange(3)), DataError, "vary"),
        (lambda: metrics.contacts(torch.zeros(3, 2, 3, 2)), DataError, "zeros only"),
        (lambda: metrics.contacts(torch.ones(3, 2)), DataError, "couplings: got shape"),
        (lambda: effective_couplings(hm.RBM(3, 2)), ArgumentError, "bernoulli visible units"),
    ],
)
def test_errors_name_what_came(call, error, words):
    with pytest.raises(error, match=words):
        call()


def _rbm(sites, hidden="bernoulli", scale=1.0):
    layers = {"bernoulli": hm.Bernoulli(4), "spin": hm.Spin(4), "gaussian": hm.Gaussian(4)}
    model = hm.RBM(hm.Categorical(sites, STATES), layers[hidden]).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in (model.weight, model.hidden.bias, model.visible.bias):
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def _enumerated(model, reference):
    """Return the two-site terms of log p by a sum over all sequences."""
    sites = model.visible.size
    rows = torch.cartesian_prod(*[torch.arange(STATES)] * sites)
    table = -model.free_energy(rows).detach().view([STATES] * sites)
    found = torch.zeros(sites, STATES, sites, STATES, dtype=torch.float64)
    for i, j in itertools.permutations(range(sites), 2):
        block = table
        for site in range(sites):
            if site not in (i, j):
                shape = [1] * sites
                shape[site] = STATES
                block = (block * reference[site].view(shape)).sum(site, keepdim=True)
        block = block.squeeze()
        block = block if i < j else block.T
        block = block - reference[i] @ block
        found[i, :, j] = block - (block @ reference[j])[:, None]
    return found


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize(
    ("sites", "hidden", "scale", "error"),
    [
        (2, "bernoulli", 1.0, 1e-12),
        (2, "spin", 1.0, 1e-12),
        (6, "gaussian", 0.3, 1e-10),
        (8, "bernoulli", 0.5, 0.02),
    ],
)
def test_effective_couplings_equal_sums_over_all_sequences(sites, hidden, scale, error, uniform):
    model = _rbm(sites, hidden, scale)
    reference = torch.ones(sites, STATES, dtype=torch.float64)
    if not uniform:
        reference += torch.rand(
            sites, STATES, generator=torch.Generator().manual_seed(5), dtype=torch.float64
        )
    reference /= reference.sum(1, keepdim=True)
    found = effective_couplings(model, None if uniform else reference)
    expected = _enumerated(model, reference)
    assert (found - expected).norm() <= error * expected.norm()


def test_couplings_of_a_machine_without_hidden_units_are_its_own():
    machine = hm.BoltzmannMachine(hm.Categorical(SITES, STATES)).double()
    matrix = torch.randn(12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = (matrix + matrix.T) * (machine.visible_mask + machine.visible_mask.T)
    machine.set_lateral("visible", matrix)
    found = effective_couplings(machine).view(12, 12)
    assert torch.allclose(found, machine.lateral("visible").detach())
