"""General Boltzmann machines: against enumeration of all joint states, from the energy's definition."""

from itertools import product

import numpy as np
import pytest
import torch
from _checks import check_frequencies, check_mean
from _models import configurations, logsumexp, number, unit

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError
from harmonium.learning import Batch
from harmonium.likelihood import _ais
from harmonium.models import mean_field
from harmonium.samplers import Gibbs
from harmonium.training import Options
from harmonium.training._optimiser import Optimisers

RING = [[0, 1], [1, 2], [2, 3], [3, 0]]
SHAPES = {
    "visible bits": {"visible": ("bernoulli", 4)},
    "visible spins on a ring": {"visible": ("spin", 4), "visible_edges": RING},
    "visible codes": {"visible": ("categorical", 3)},
    "codes on a chain": {"visible": ("categorical", 3), "visible_edges": [[0, 1], [1, 2]]},
    "all coupled": {"visible": ("bernoulli", 3), "hidden": ("spin", 3)},
    "coupled above": {"visible": ("spin", 3), "hidden": ("bernoulli", 3), "visible_edges": False},
    "coupled below": {"visible": ("categorical", 2), "hidden": ("bernoulli", 2), "hidden_edges": False},
    "sparse between": {
        "visible": ("bernoulli", 3),
        "hidden": ("bernoulli", 2),
        "weight_mask": [[1, 0], [1, 1], [0, 1]],
        "hidden_edges": [[0, 1]],
    },
    "codes above": {"visible": ("spin", 2), "hidden": ("categorical", 2)},
}


def machine(label, scale=0.8, seed=0, dtype=torch.float64):
    """Return a machine of a shape, all of whose parameters are random."""
    options = dict(SHAPES[label])
    layers = [unit(*options.pop(block)) for block in ("visible", "hidden") if block in options]
    model = hm.BoltzmannMachine(*layers, **options).double()
    generator = np.random.default_rng([seed, *map(ord, label)])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(scale * generator.normal(size=parameter.shape)))
        for coupling in model.couplings():
            mask = model.mask(coupling)
            if mask is not None:
                model.get_parameter(coupling.name).mul_(mask)
    return model.to(dtype)


class Joint:
    """All joint states of a machine and their probabilities, by a loop over pairs of units."""

    def __init__(self, model, beta=1.0):
        layers = [model.layer(block) for block in model.blocks()]
        rows = list(product(*(configurations(layer) for layer in layers)))
        self.blocks = {b: np.array([row[i] for row in rows]) for i, b in enumerate(model.blocks())}
        self.log_f = -beta * np.array([energy(model, row) for row in rows])
        self.log_partition = logsumexp(self.log_f)
        self.p = np.exp(self.log_f - self.log_partition)
        self.all = np.concatenate(list(self.blocks.values()), 1)

    def tensors(self, index=slice(None)):
        return {block: torch.from_numpy(x[index].copy()) for block, x in self.blocks.items()}

    def given(self, block, values):
        """Return the probabilities with some columns of a block held, NaN where they are free."""
        wrong = ((self.blocks[block] != values) & ~np.isnan(values)).any(1)
        p = np.where(wrong, 0.0, self.p)
        return p / p.sum()


def energy(model, row):
    """Return E of one joint state, pair by pair."""
    parts = dict(zip(model.blocks(), row, strict=True))
    total = 0.0
    for block, x in parts.items():
        layer = model.layer(block)
        total -= layer.bias.detach().numpy() @ x
        if hasattr(model, f"{block}_coupling"):
            q = layer.width // layer.size
            j = getattr(model, f"{block}_coupling").detach().numpy()
            for a in range(layer.size):
                for b in range(a + 1, layer.size):
                    first, second = slice(a * q, a * q + q), slice(b * q, b * q + q)
                    total -= x[first] @ j[first, second] @ x[second]
    if len(parts) == 2:
        total -= parts["visible"] @ model.weight.detach().numpy() @ parts["hidden"]
    return total


@pytest.fixture(params=SHAPES)
def model(request):
    return machine(request.param)


# --- sums ---------------------------------------------------------------------------------------


def test_energy_is_that_of_pairs(model):
    joint = Joint(model)
    got = model.energy(joint.tensors()).detach().numpy()
    np.testing.assert_allclose(got, -joint.log_f, rtol=1e-12, atol=1e-12)


def test_log_partition_is_that_of_all_joint_states(model):
    found = hm.log_partition(model, "exact")
    assert found.value == pytest.approx(Joint(model).log_partition, rel=1e-12)
    assert found.method == "exact"


def test_free_energy_sums_the_hidden_states(model):
    joint = Joint(model)
    visible = configurations(model.visible)
    place = number(joint.blocks["visible"], visible)
    expected = [-logsumexp(joint.log_f[place == i]) for i in range(len(visible))]
    got = model.free_energy(torch.from_numpy(visible)).detach().numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_log_likelihood_of_all_states_sums_to_one(model):
    values = model.visible.values(torch.from_numpy(configurations(model.visible)))
    z = hm.log_partition(model, "exact")
    each = [hm.log_likelihood(model, row[None], log_partition=z).mean for row in values]
    assert np.exp(each).sum() == pytest.approx(1.0)


def test_more_states_than_can_be_enumerated_are_counted():
    big = hm.BoltzmannMachine(100, 50)
    with pytest.raises(ArgumentError, match=r"1\.43e\+45 states; use 'ais' or 'bridge'"):
        hm.log_partition(big, "exact")
    with pytest.raises(ArgumentError, match=r"1\.13e\+15 states of hidden units to sum over"):
        big.free_energy(torch.zeros(1, 100))


def test_a_bipartite_machine_is_an_rbm():
    rbm = hm.RBM(hm.Spin(6), hm.Bernoulli(4), seed=3)
    same = hm.BoltzmannMachine(hm.Spin(6), hm.Bernoulli(4), visible_edges=False, hidden_edges=False, seed=3)
    assert {k: v.tolist() for k, v in rbm.named_parameters()} == {
        k: v.tolist() for k, v in same.named_parameters()
    }
    assert hm.log_partition(rbm).value == hm.log_partition(same).value
    assert torch.equal(hm.sample(rbm, 20, steps=5), hm.sample(same, 20, steps=5))
    x = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (60, 6))).float()
    for twin in (rbm, same):
        hm.fit(twin, x, hm.PCD(chains=10), epochs=2, batch_size=20)
    assert torch.equal(rbm.weight, same.weight)
    ends = [hm.log_partition(twin, "bridge", runs=20, betas=50, equilibrate=10) for twin in (rbm, same)]
    assert ends[0] == ends[1]


# --- chains -------------------------------------------------------------------------------------


def check_drift(model, steps, n=6000, clamp=None, beta=1.0, sampler=None):
    """Check that chains which start in their distribution are still in it after some steps."""
    joint = Joint(model, beta)
    generator = np.random.default_rng(steps)
    p, held = joint.p, None
    if clamp is not None:
        held = {block: torch.tensor(values).double().repeat(n, 1) for block, values in clamp.items()}
        (block, values) = next(iter(clamp.items()))
        p = joint.given(block, np.array(values))
    start = joint.tensors(generator.choice(len(p), n, p=p))
    stream = Stream(steps, "chains")
    gibbs = sampler or Gibbs()
    betas = None if beta == 1 else torch.full((n,), beta, dtype=model.dtype)
    state = gibbs.init(model, n, stream, start, clamp=held, beta=betas)
    state = gibbs.run(model, state, stream, steps)
    got = np.concatenate([state[block].double().numpy() for block in model.blocks()], 1)
    check_frequencies(number(got, joint.all), p)


@pytest.mark.parametrize("steps", [1, 4, 16])
def test_no_drift(model, steps):
    check_drift(model, steps)


@pytest.mark.parametrize(
    "label", ["visible bits", "visible spins on a ring", "all coupled", "codes on a chain"]
)
def test_no_drift_at_a_temperature(label):
    check_drift(machine(label), 4, beta=0.6)


@pytest.mark.parametrize(
    ("label", "clamp"),
    [
        ("visible bits", {"visible": [1, np.nan, 0, np.nan]}),
        ("visible spins on a ring", {"visible": [np.nan, -1, np.nan, np.nan]}),
        ("codes on a chain", {"visible": [np.nan] * 3 + [0, 1, 0] + [np.nan] * 3}),
        ("all coupled", {"visible": [1, np.nan, np.nan]}),
        ("all coupled", {"hidden": [1, np.nan, -1]}),
        ("all coupled", {"visible": [1, 0, 1]}),
        ("sparse between", {"hidden": [np.nan, 1]}),
    ],
)
def test_no_drift_with_units_held(label, clamp):
    check_drift(machine(label), 4, clamp=clamp)


def test_chains_find_the_distribution(model):
    weak = model
    with torch.no_grad():
        for parameter in weak.parameters():
            parameter *= 0.5
    n = 6000
    stream = Stream(1, "chains")
    state = Gibbs().run(weak, Gibbs().init(weak, n, stream), stream, 60)
    joint = Joint(weak)
    got = np.concatenate([state[block].double().numpy() for block in weak.blocks()], 1)
    check_frequencies(number(got, joint.all), joint.p)


def test_stale_fields_are_noticed(monkeypatch):
    """A sweep that draws all units at once from the present fields leaves the distribution."""
    monkeypatch.setattr(hm.BoltzmannMachine, "groups", lambda self, block: (torch.arange(4),))
    with pytest.raises(AssertionError):
        check_drift(machine("visible bits", scale=1.5), 4)


def test_groups_share_no_edge():
    lattice = hm.BoltzmannMachine(hm.Spin(16), visible_edges=hm.models.lattice((4, 4)))
    first, second = lattice.groups("visible")
    matrix = lattice.visible_mask + lattice.visible_mask.T
    assert {*first.tolist(), *second.tolist()} == set(range(16))
    assert not matrix[first][:, first].any()
    assert not matrix[second][:, second].any()
    assert hm.BoltzmannMachine(20).groups("visible") is None


def test_groups_follow_the_mask_that_is_loaded(tmp_path):
    model = machine("visible spins on a ring")
    hm.save(model, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    assert [g.tolist() for g in again.groups("visible")] == [g.tolist() for g in model.groups("visible")]
    assert torch.equal(hm.sample(again, 10, steps=3), hm.sample(model, 10, steps=3))


# --- mean field ---------------------------------------------------------------------------------


def test_mean_field_is_exact_where_hidden_units_are_independent():
    model = machine("coupled below")
    v = torch.from_numpy(configurations(model.visible))
    assert torch.equal(mean_field(model, {"visible": v}).means["hidden"], model.encode(v))


@pytest.mark.parametrize("label", ["all coupled", "coupled above", "codes above"])
def test_mean_field_is_consistent_and_near_for_weak_couplings(label):
    model = machine(label, scale=0.2)
    joint = Joint(model)
    visible = configurations(model.visible)
    v = torch.from_numpy(visible)
    means = mean_field(model, {"visible": v}, tolerance=1e-12, steps=500).means
    again = model.hidden.expected_statistics(model.field("hidden", {"visible": v, **means}))
    torch.testing.assert_close(means["hidden"], again, rtol=0, atol=1e-10)
    for i, row in enumerate(visible):
        exact = joint.given("visible", row) @ joint.blocks["hidden"]
        assert np.abs(means["hidden"][i].detach().numpy() - exact).max() < 0.02


# --- gradients ----------------------------------------------------------------------------------


def exact_gradient(model, v, weights):
    """Return the gradient of the mean negative log-likelihood by autograd of enumerated sums."""
    loss = weights @ model.free_energy(v) + weights.sum() * model.log_sum({})[0]
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [model.get_parameter(name) for name in names])
    return dict(zip(names, gradients, strict=True))


def rule_gradient(model, rule, v, weights, offsets):
    """Return the gradient that a rule leaves when both sides are all states with their probabilities."""
    joint = Joint(model)
    pairs = zip(weights.numpy(), v.numpy(), strict=True)
    given = np.array([weight * joint.given("visible", row) for weight, row in pairs])

    class Exact(type(rule)):
        def positive(self, model, values, stream):
            return joint.tensors(), {}

        def negative(self, model, data, fields, state, stream):
            return joint.tensors(), {}

        def shares(self, batch, sample):
            return torch.from_numpy(np.concatenate((-given.sum(0), joint.p * given.sum())))

    kept = {}

    def keep(group):
        kept.update({name: p.grad.clone() for name, p in model.named_parameters()})

    batch = Batch(v, weights, torch.arange(len(v)))
    Exact(**rule.model_dump()).update(model, batch, offsets, Stream(0, "update"), keep)
    return kept


@pytest.mark.parametrize("label", SHAPES)
def test_moments_give_the_gradient_of_the_likelihood(label):
    model = machine(label)
    generator = np.random.default_rng(1)
    v = torch.from_numpy(configurations(model.visible)[generator.integers(0, 4, 7)])
    weights = torch.from_numpy(generator.dirichlet(np.ones(7)))
    got = rule_gradient(model, hm.PCD(centred=False), v, weights, {})
    for name, expected in exact_gradient(model, v, weights).items():
        torch.testing.assert_close(got[name], expected, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("label", SHAPES)
def test_the_centred_gradient_is_that_of_centred_parameters(label):
    """Biases of a model in s - mu, whose couplings are the same, are b + W mu: chain rule both ways."""
    model = machine(label)
    generator = np.random.default_rng(2)
    v = torch.from_numpy(configurations(model.visible)[generator.integers(0, 4, 7)])
    weights = torch.full((7,), 1 / 7, dtype=torch.float64)
    widths = {block: model.layer(block).width for block in model.blocks()}
    mu = {block: torch.from_numpy(generator.uniform(0, 1, n)) for block, n in widths.items()}
    offsets = {f"offset.{block}": x for block, x in mu.items()}
    rule = hm.PCD(centred=True, offset_rate=1e-12)
    got = rule_gradient(model, rule, v, weights, offsets)
    plain = exact_gradient(model, v, weights)
    inputs = {block: torch.zeros_like(x) for block, x in mu.items()}
    for a, b, name in model.couplings():
        g = plain[name] - torch.outer(mu[a], plain[f"{b}.bias"]) - torch.outer(plain[f"{a}.bias"], mu[b])
        mask = model.mask(next(c for c in model.couplings() if c.name == name))
        g = g if mask is None else g * mask
        torch.testing.assert_close(got[name], g, rtol=0, atol=1e-9)
        inputs[a] += g @ mu[b]
        inputs[b] += g.T @ mu[a]
    for block in model.blocks():
        expected = plain[f"{block}.bias"] - inputs[block]
        torch.testing.assert_close(got[f"{block}.bias"], expected, rtol=0, atol=1e-9)


def test_clamped_sampling_of_coupled_hidden_units_gives_their_moments():
    model = machine("all coupled")
    rule = hm.PCD(data_phase="gibbs", data_steps=30)
    row = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    data, fields = rule.positive(model, row.repeat(4000, 1), Stream(0, "data"))
    assert fields == {}
    joint = Joint(model)
    p = joint.given("visible", row[0].numpy())
    h = joint.blocks["hidden"]
    drawn = data["hidden"].numpy()
    check_mean(drawn, p @ h)
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [p @ (h[:, i] * h[:, j]) for i, j in pairs]
    check_mean(np.stack([drawn[:, i] * drawn[:, j] for i, j in pairs], 1), expected)


@pytest.mark.parametrize("label", SHAPES)
def test_learning_raises_the_likelihood(label):
    truth, model = machine(label, scale=1.0, seed=5), machine(label, scale=0.05, seed=6)
    joint = Joint(truth)
    rows = joint.blocks["visible"][np.random.default_rng(0).choice(len(joint.p), 1000, p=joint.p)]
    values = model.visible.values(torch.from_numpy(rows))
    before = hm.log_likelihood(model, values, method="exact").mean
    history = hm.fit(model, values, hm.PCD(chains=200), epochs=15, batch_size=100, lr=0.1)
    after = hm.log_likelihood(model, values, method="exact").mean
    best = hm.log_likelihood(truth, values, method="exact").mean
    assert after > before + 0.5 * (best - before)
    assert history.records[-1]["weight/norm"] > 0


# --- annealing ----------------------------------------------------------------------------------


@pytest.mark.parametrize("label", SHAPES)
def test_annealing_brackets_the_sum(label):
    model = machine(label)
    found = hm.log_partition(model, "bridge", runs=400, betas=100, equilibrate=400)
    exact = Joint(model).log_partition
    assert found.trusted, found.reason
    assert abs(found.value - exact) <= 4 * found.standard_error
    assert found.lower <= exact + 4 * found.lower_standard_error
    assert found.upper >= exact - 4 * found.upper_standard_error


@pytest.mark.parametrize("label", ["visible bits", "all coupled", "codes on a chain", "coupled above"])
@pytest.mark.parametrize("reverse", [False, True])
def test_the_mean_weight_of_few_steps_is_unbiased(label, reverse):
    model = machine(label)
    base = _ais.Base(model)
    joint = Joint(model)
    n = 20_000
    betas = torch.linspace(0, 1, 4, dtype=torch.float64)
    stream = Stream(3, "weights")
    if reverse:
        start = joint.tensors(np.random.default_rng(0).choice(len(joint.p), n, p=joint.p))
        log_weight, _ = _ais.anneal(model, base, betas.flip(0), start, stream)
        check_mean(log_weight.exp().numpy(), np.exp(base.log_partition - joint.log_partition))
    else:
        log_weight, _ = _ais.anneal(model, base, betas, base.sample(model, n, stream), stream)
        check_mean(log_weight.exp().numpy(), np.exp(joint.log_partition - base.log_partition))


# --- gauge --------------------------------------------------------------------------------------


def test_the_gauge_changes_no_probability():
    model = machine("visible codes", scale=1.5)
    before = Joint(model)
    model.project()
    after = Joint(model)
    np.testing.assert_allclose(after.p, before.p, rtol=1e-10)
    blocks = model.visible_coupling.detach().view(3, 3, 3, 3)
    assert blocks.sum(1).abs().max() < 1e-12
    assert blocks.sum(3).abs().max() < 1e-12


def test_training_keeps_the_gauge():
    model = hm.BoltzmannMachine(hm.Categorical(5, 4))
    codes = np.random.default_rng(0).integers(0, 4, (300, 5))
    codes[:, 1] = codes[:, 0]
    hm.fit(model, codes, epochs=5, optimizer="Adam", lr=0.05, averaging=0.0)
    blocks = model.visible_coupling.detach().view(5, 4, 5, 4)
    assert blocks.abs().max() > 0.1
    assert blocks.sum(1).abs().max() < 1e-5


# --- masks and mistakes -------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "AdamW"])
def test_training_leaves_what_is_masked(optimizer):
    generator = np.random.default_rng(0)
    mask = generator.random((6, 4)) < 0.5
    model = hm.BoltzmannMachine(6, 4, visible_edges=[[0, 1], [2, 3]], hidden_edges=[[1, 2]], weight_mask=mask)
    hm.fit(model, generator.integers(0, 2, (100, 6)), epochs=3, optimizer=optimizer)
    assert torch.equal(model.weight != 0, torch.from_numpy(mask))
    assert {tuple(p) for p in model.visible_coupling.nonzero().tolist()} == {(0, 1), (2, 3)}
    assert {tuple(p) for p in model.hidden_coupling.nonzero().tolist()} == {(1, 2)}


def test_couplings_are_set_and_read_as_a_symmetric_matrix():
    model = hm.BoltzmannMachine(3)
    matrix = torch.tensor([[0.0, 1, 2], [1, 0, 3], [2, 3, 0]])
    model.set_lateral("visible", matrix)
    assert torch.equal(model.lateral("visible"), matrix)
    assert model.energy({"visible": torch.ones(1, 3)}).tolist() == [-6.0]


UNEVEN = [[0, 1, 0], [2, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hm.BoltzmannMachine(4, 3, weight_mask=np.ones((3, 4))), r"weight_mask: got \(3, 4\)"),
        (lambda: hm.BoltzmannMachine(3, weight_mask=np.ones((3, 1))), "weight_mask: got one"),
        (lambda: hm.BoltzmannMachine(3, visible_edges=np.eye(3, k=1) > 0), "visible_edges: .*symmetric"),
        (lambda: hm.BoltzmannMachine(3, visible_edges=[[0, 3]]), "visible_edges: got 3, expected units"),
        (lambda: hm.BoltzmannMachine(3, visible_edges=[[1, 1]]), "edge from unit 1 to itself"),
        (lambda: hm.BoltzmannMachine(3, visible_edges=np.ones((2, 5))), "visible_edges: got 'shape"),
        (lambda: hm.BoltzmannMachine(hm.Gaussian(3)), "visible_edges: got True"),
        (lambda: hm.BoltzmannMachine(2_000_000), "visible_edges: got True, expected less: 29,802 GiB"),
        (lambda: hm.BoltzmannMachine(3).set_lateral("visible", UNEVEN), "symmetric"),
        (lambda: hm.BoltzmannMachine(3).set_lateral("visible", torch.eye(3)), "where there is no edge"),
        (lambda: hm.BoltzmannMachine(3).set_lateral("visible", torch.zeros(2, 2)), "expected shape"),
        (lambda: hm.BoltzmannMachine(3).set_lateral("hidden", torch.eye(3)), "block: got 'hidden'"),
        (lambda: hm.BoltzmannMachine(3).encode(torch.zeros(1, 3)), "no hidden units"),
        (lambda: hm.BoltzmannMachine(3, 2).encode(torch.zeros(1, 3)), "hidden units that are coupled"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("wrong", [None, "all", 3, [[0, 1], [2]], [0, None]])
def test_edges_and_masks_that_are_none_are_named(wrong):
    edges = r"_edges: got .*, expected True, False, a matrix of shape \(3, 3\), or pairs of units"
    makers = {
        f"^visible{edges}": lambda: hm.BoltzmannMachine(3, visible_edges=wrong),
        f"^hidden{edges}": lambda: hm.BoltzmannMachine(2, 3, hidden_edges=wrong),
    }
    if wrong is not None:
        expected = r"shape \(3, 2\): visible x hidden units"
        message = rf"^weight_mask: got .*, expected .*{expected}"
        makers[message] = lambda: hm.BoltzmannMachine(3, 2, weight_mask=wrong)
    for message, make in makers.items():
        with pytest.raises((ArgumentError, ArgumentTypeError), match=message):
            make()
    if not isinstance(wrong, int):
        with pytest.raises(ArgumentTypeError, match=r"^matrix: got "):
            hm.BoltzmannMachine(3).set_lateral("visible", wrong)


def test_rows_that_are_no_data_are_refused():
    model = hm.BoltzmannMachine(hm.Spin(3), 2, hidden_edges=False)
    for door in (model.encode, model.free_energy, hm.BoltzmannMachine(hm.Spin(3), 2).free_energy):
        with pytest.raises(DataError, match=r"^v: got -2 at row 1, column 0, expected a mean in"):
            door(torch.tensor([[1.0, -1, 1], [-2, 1, 1]]))
        with pytest.raises(DataError, match=r"^v: got shape \(1, 2\), expected \(rows, 3\)"):
            door(torch.ones(1, 2))
        with pytest.raises(ArgumentTypeError, match=r"^v: got 'abc'"):
            door("abc")


def test_a_machine_comes_back_from_its_file(model, tmp_path):
    hm.save(model, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    assert again.config() == model.config()
    assert hm.log_partition(again, "exact").value == hm.log_partition(model, "exact").value


def test_optimisers_bring_parameters_back():
    calls = []
    p = torch.nn.Parameter(torch.ones(2, 2))
    p.grad = torch.ones(2, 2)
    Optimisers({"model": {"p": p}}, Options(), 0.1, lambda: calls.append(1)).apply("model")
    assert calls == [1]
