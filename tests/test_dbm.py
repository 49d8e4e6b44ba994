"""Deep Boltzmann machines: against enumeration of all joint states, from the energy's definition."""

import logging
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from _checks import check_average, check_frequencies, check_mean, check_normal, nothing
from _models import configurations, logsumexp, number, unit
from _runs import back_to, bits, log, same

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, TrainingError
from harmonium.learning import RULES, Batch
from harmonium.likelihood import LogPartition, _ais, _posterior
from harmonium.models import error_rate, inferred_fields, mean_field
from harmonium.samplers import Gibbs, Tempering

SHAPES = {
    "bits": {"layers": [("bernoulli", 3), ("bernoulli", 2), ("bernoulli", 2)]},
    "spins": {"layers": [("spin", 3), ("bernoulli", 3), ("spin", 2)]},
    "codes": {"layers": [("categorical", 2), ("spin", 2), ("categorical", 1)]},
    "three": {"layers": [("bernoulli", 3), ("spin", 2), ("bernoulli", 2), ("bernoulli", 2)]},
    "three of codes": {"layers": [("spin", 2), ("categorical", 1), ("bernoulli", 2), ("spin", 2)]},
    "masked": {
        "layers": [("bernoulli", 3), ("categorical", 2), ("spin", 2)],
        "masks": [[[1, 0], [1, 1], [0, 1]], [[0, 1], [1, 1]]],
    },
    "label": {"layers": [("bernoulli", 3), ("bernoulli", 2), ("spin", 2)], "classes": 3},
    "label above three": {
        "layers": [("spin", 2), ("bernoulli", 2), ("categorical", 1), ("bernoulli", 2)],
        "classes": 2,
    },
    "label beside": {"layers": [("mixed", 3), ("bernoulli", 2), ("spin", 2)]},
    "real": {"layers": [("gaussian", 2), ("bernoulli", 3), ("spin", 2)]},
    "real with a label": {"layers": [("gaussian", 2), ("spin", 2), ("bernoulli", 2)], "classes": 2},
}
REAL = [label for label in SHAPES if label.startswith("real")]
DISCRETE = [label for label in SHAPES if label not in REAL]
LABELLED = [label for label, shape in SHAPES.items() if "classes" in shape]


def machine(label, scale=0.8, seed=0, dtype=torch.float64):
    """Return a machine of a shape, all of whose parameters are random; ``scale`` is their deviation."""
    options = dict(SHAPES[label])
    kinds = options.pop("layers")
    learned = [{"learn_precision": True} if kind == "gaussian" else {} for kind, _ in kinds]
    layers = [made(*layer, **own) for layer, own in zip(kinds, learned, strict=True)]
    model = hm.DBM(layers, **options).double()
    generator = np.random.default_rng([seed, *map(ord, label)])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.from_numpy(scale * generator.normal(size=parameter.shape)))
        for (_, _, weight), mask in zip(couplings(model), masks(label), strict=True):
            model.get_parameter(weight).mul_(torch.from_numpy(mask))
        if layers[0].kind == "gaussian":
            model.layers[0].log_precision.mul_(0.5)
    return model.to(dtype)


def made(kind, size, **options):
    """Return a layer of units; of a mixed one the last unit is a label."""
    if kind == "mixed":
        return hm.Mixed(hm.Bernoulli(size - 1), hm.Categorical(1, 3))
    return unit(kind, size, **options)


def chain(model):
    """Return the blocks from the data up, and the places of their units, by the definition."""
    names = ["visible", *(f"hidden{n}" for n in range(1, len(model.layers)))]
    places = {name: f"layers.{n}" for n, name in enumerate(names)}
    return places if model.label is None else {**places, "label": "label"}


def couplings(model):
    """Return the pairs of blocks that are coupled, the block of the matrix's rows first, and its name."""
    below = [name for name in chain(model) if name != "label"]
    pairs = [(a, b, f"weights.{n}") for n, (a, b) in enumerate(pairwise(below))]
    return pairs if model.label is None else [*pairs, ("label", below[-1], "label_weight")]


def masks(label):
    """Return where each of a machine's couplings may be, column by column of the statistics."""
    columns = {"categorical": 3, "mixed": [1, 1, 3]}
    layers, found = SHAPES[label]["layers"], []
    for n, ((kind, size), (other, upper)) in enumerate(pairwise(layers)):
        mask = np.array(SHAPES[label].get("masks", [np.ones((size, upper))] * len(layers))[n], dtype=float)
        found.append(mask.repeat(columns.get(kind, 1), 0).repeat(columns.get(other, 1), 1))
    return [*found, np.ones(1)] if "classes" in SHAPES[label] else found


def states_of(layer):
    """Return the statistics of all states of a layer, a label's as many as it has classes."""
    if layer.kind == "mixed":
        return np.array([np.concatenate(row) for row in product(*map(states_of, layer.parts))])
    return np.eye(layer.width) if layer.kind == "categorical" and layer.size == 1 else configurations(layer)


def energies(model, state, parameters=None):
    """Return E of joint states by the definition, of NumPy arrays; of tensors where parameters are given."""
    own = parameters or {name: p.detach().double().numpy() for name, p in model.named_parameters()}
    total = 0.0
    for block, place in chain(model).items():
        if block in state:
            total = total - state[block] @ own[f"{place}.bias"]
            precision = own.get(f"{place}.log_precision")
            if precision is not None:
                total = total + 0.5 * state[block] ** 2 @ (np if parameters is None else torch).exp(precision)
    for a, b, name in couplings(model):
        if a in state and b in state:
            total = total - ((state[a] @ own[name]) * state[b]).sum(-1)
    return total


class Joint:
    """All joint states of a machine and their probabilities; Gaussian units have means given the others.

    ``log_f`` is minus the energy of each joint state. Of Gaussian visible units, which are in no state, the
    integral is part of it, and ``mean`` and ``deviation`` are theirs given each state of the others.

    Arguments:
        model: The machine.
        beta: The inverse temperature.
        base: The biases at inverse temperature zero, where there are others than zero.
    """

    def __init__(self, model, beta=1.0, base=None):
        self.names = [name for name in chain(model) if model.layer(name).kind != "gaussian"]
        rows = list(product(*(states_of(model.layer(name)) for name in self.names)))
        self.blocks = {name: np.array([row[i] for row in rows]) for i, name in enumerate(self.names)}
        self.log_f = -beta * energies(model, self.blocks)
        for block, bias in (base or {}).items():
            self.log_f = self.log_f + (1 - beta) * self.blocks[block] @ bias
        if "visible" not in self.names:
            own = {name: p.detach().numpy() for name, p in model.named_parameters()}
            precision = np.exp(own["layers.0.log_precision"])
            field = own["layers.0.bias"] + self.blocks["hidden1"] @ own["weights.0"].T
            self.mean, self.deviation = field / precision, 1 / np.sqrt(beta * precision)
            parts = beta * field**2 / (2 * precision) + 0.5 * np.log(2 * np.pi / (beta * precision))
            self.log_f = self.log_f + parts.sum(1)
        self.log_partition = logsumexp(self.log_f)
        self.p = np.exp(self.log_f - self.log_partition)
        self.all = np.concatenate(list(self.blocks.values()), 1)

    def tensors(self, index=slice(None), generator=None):
        """Return joint states by their numbers; a generator draws the Gaussian units."""
        state = {block: torch.from_numpy(x[index].copy()) for block, x in self.blocks.items()}
        if "visible" not in state:
            mean = self.mean[index]
            state["visible"] = torch.from_numpy(mean + self.deviation * generator.normal(size=mean.shape))
        return state

    def draw(self, n, seed=0, p=None):
        """Draw independent joint states."""
        generator = np.random.default_rng(seed)
        return self.tensors(generator.choice(len(self.p), n, p=self.p if p is None else p), generator)

    def given(self, clamp):
        """Return the probabilities with some columns of some blocks held, NaN where they are free."""
        wrong = [((self.blocks[b] != x) & ~np.isnan(x)).any(1) for b, x in clamp.items()]
        p = np.where(np.any(wrong, 0), 0.0, self.p)
        return p / p.sum()

    def check(self, state, p=None):
        """Check drawn joint states against their probabilities."""
        state = {block: x.double().numpy() for block, x in state.items()}
        index = number(np.concatenate([state[block] for block in self.names], 1), self.all)
        check_frequencies(index, self.p if p is None else p)
        if "visible" not in self.names:
            check_normal((state["visible"] - self.mean[index]) / self.deviation)


def above(model, given):
    """Return all states of the blocks that are not given."""
    names = [name for name in chain(model) if name not in given]
    rows = list(product(*(states_of(model.layer(name)) for name in names)))
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}


def rows_of_energies(model, given, states):
    """Return E of each row of the given blocks with each state of the others, shape (rows, states)."""
    count, n = len(next(iter(given.values()))), len(next(iter(states.values())))
    joint = {block: x.repeat(n, 0) for block, x in given.items()}
    joint |= {block: np.tile(x, (count, 1)) for block, x in states.items()}
    return energies(model, joint).reshape(count, n)


def log_sums(model, given):
    """Return the log of the sum of exp(-E) over what is not given, for each row."""
    return logsumexp(-rows_of_energies(model, given, above(model, given)), 1)


def log_factorial(model, q, states):
    """Return log q of each state under each row's independent units, shape (rows, states)."""
    total = 0.0
    for block, x in states.items():
        layer, field = model.layer(block), q.fields[block].detach().numpy()
        parts = field @ states_of(layer).T
        total = total + field @ x.T - logsumexp(parts, 1)[:, None]
    return total


def naive_bound(model, given, q):
    """Return the bound up to log Z of each row, by the sum over all states of the rest."""
    given = {block: x.numpy() for block, x in given.items()}
    states = above(model, given)
    log_q = log_factorial(model, q, states)
    return (np.exp(log_q) * (-rows_of_energies(model, given, states) - log_q)).sum(1)


def some_rows(model, n=6, seed=0, scale=1.5):
    """Return statistics of rows of data, label included, float64."""
    generator = np.random.default_rng(seed)
    parts = []
    for block in ("visible", "label")[: 1 if model.label is None else 2]:
        layer = model.layer(block)
        if layer.kind == "gaussian":
            parts.append(scale * generator.normal(size=(n, layer.size)))
        else:
            states = states_of(layer)
            parts.append(states[generator.integers(0, len(states), n)])
    return torch.from_numpy(np.concatenate(parts, 1))


def seen_by(model, n=6, seed=0, labelled=True):
    """Return the blocks that some rows tell."""
    given = model.states(some_rows(model, n, seed))
    return given if labelled else {"visible": given["visible"]}


@pytest.fixture(params=SHAPES)
def model(request):
    return machine(request.param)


# --- structure ----------------------------------------------------------------------------------


def test_blocks_are_drawn_even_before_odd(model):
    names = list(chain(model))
    parity = [names.index(block) % 2 for block in model.blocks()]
    assert sorted(model.blocks()) == sorted(names)
    assert parity == sorted(parity)
    assert model.blocks()[0] == "visible"
    half = parity.index(1)
    for group in (model.blocks()[:half], model.blocks()[half:]):
        assert not any(c.lower in group and c.upper in group for c in model.couplings())


def test_parameters_have_the_names_and_shapes_of_the_definition(model):
    assert {block: model.place(block) for block in model.blocks()} == chain(model)
    assert [tuple(c) for c in model.couplings()] == couplings(model)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    for a, b, name in couplings(model):
        assert shapes.pop(name) == (model.layer(a).width, model.layer(b).width)
    for block, place in chain(model).items():
        assert shapes.pop(f"{place}.bias") == (model.layer(block).width,)
    assert set(shapes) <= {"layers.0.log_precision"}
    names = model.moments({b: torch.zeros(1, model.layer(b).width).double() for b in model.blocks()}, W1)
    assert set(names) == {name for name, _ in model.named_parameters()}


W1 = torch.ones(1, dtype=torch.float64)


def test_rows_tell_of_the_blocks_that_are_seen(model):
    rows = some_rows(model)
    given = model.states(rows)
    assert set(given) == set(model.observed_blocks())
    assert torch.equal(model.shown(given), rows)
    assert torch.equal(model.states(model.visible.values(rows))["visible"], given["visible"])
    bare = model.states(rows[:, : model.layers[0].width])
    assert set(bare) == {"visible"}
    assert torch.equal(bare["visible"], given["visible"])


# --- sums ---------------------------------------------------------------------------------------


def test_energy_is_that_of_the_definition(model):
    state = Joint(model).draw(200)
    expected = energies(model, {block: x.numpy() for block, x in state.items()})
    np.testing.assert_allclose(model.energy(state).detach().numpy(), expected, rtol=1e-12, atol=1e-12)


def test_fields_are_ratios_of_the_joint(model):
    """Of a unit's states the log-odds given all other blocks are its field times their difference."""
    state = {block: x.numpy() for block, x in Joint(model).draw(40).items()}
    tensors = {block: torch.from_numpy(x) for block, x in state.items()}
    generator = np.random.default_rng(1)
    for block in model.blocks():
        layer, old = model.layer(block), state[block]
        if layer.kind == "gaussian":
            new = generator.normal(size=old.shape)
        else:
            new = states_of(layer)[generator.integers(0, len(states_of(layer)), len(old))]
        odds = energies(model, state) - energies(model, {**state, block: new})
        rest = {name: x for name, x in tensors.items() if name != block}
        field = model.field(block, rest)
        own = layer.own_energy(torch.from_numpy(old)) - layer.own_energy(torch.from_numpy(new))
        got = (field.detach().numpy() * (new - old)).sum(1) + own.detach().numpy()
        np.testing.assert_allclose(got, odds, rtol=1e-10, atol=1e-10, err_msg=block)
        betas = torch.linspace(0.1, 2, len(old), dtype=torch.float64)
        torch.testing.assert_close(model.field(block, rest, betas), betas[:, None] * field)


def test_log_partition_is_that_of_all_joint_states(model):
    found = hm.log_partition(model, "exact")
    assert found.value == pytest.approx(Joint(model).log_partition, rel=1e-12)
    assert found.method == "exact"


@pytest.mark.parametrize("labelled", [True, False])
def test_free_energy_sums_all_that_rows_do_not_tell(model, labelled):
    rows = some_rows(model)
    if not labelled:
        rows = rows[:, : model.layers[0].width]
    given = {block: x.numpy() for block, x in model.states(rows).items()}
    assert set(given) == ({"visible", "label"} & set(chain(model)) if labelled else {"visible"})
    got = model.free_energy(rows).detach().numpy()
    np.testing.assert_allclose(got, -log_sums(model, given), rtol=1e-12)
    np.testing.assert_allclose(model.log_sum(model.states(rows)).detach().numpy(), -got, rtol=1e-12)


@pytest.mark.parametrize("label", LABELLED)
def test_the_label_sums_out(label):
    model = machine(label)
    values = model.visible.values(some_rows(model))[:, : model.layers[0].size]
    each = [
        -model.free_energy(torch.cat((values, torch.full_like(values[:, :1], code)), 1))
        for code in range(model.classes)
    ]
    torch.testing.assert_close(-model.free_energy(values), torch.logsumexp(torch.stack(each), 0))


@pytest.mark.parametrize("label", DISCRETE)
def test_log_likelihoods_of_all_rows_sum_to_one(label):
    model = machine(label)
    blocks = [states_of(model.layer(block)) for block in model.observed_blocks()]
    rows = np.array([np.concatenate(row) for row in product(*blocks)])
    z = hm.log_partition(model, "exact")
    log_p = -model.free_energy(torch.from_numpy(rows)).detach().numpy() - z.value
    assert np.exp(log_p).sum() == pytest.approx(1.0)
    values = model.visible.values(torch.from_numpy(rows))
    assert hm.log_likelihood(model, values, log_partition=z).mean == pytest.approx(log_p.mean())


def shallow_twins():
    """Return an RBM and a deep machine of one hidden layer with the same parameters."""
    rbm = hm.RBM(hm.Spin(6), hm.Bernoulli(4), seed=3)
    deep = hm.DBM([hm.Spin(6), hm.Bernoulli(4)], seed=5)
    generator = Stream(0, "twins")
    with torch.no_grad():
        rbm.weight.copy_(generator.normal(6, 4))
        rbm.visible.bias.copy_(generator.normal(1, 6)[0])
        rbm.hidden.bias.copy_(generator.normal(1, 4)[0])
        deep.weights[0].copy_(rbm.weight)
        deep.layers[0].bias.copy_(rbm.visible.bias)
        deep.layers[1].bias.copy_(rbm.hidden.bias)
    return rbm, deep


def test_a_machine_of_one_hidden_layer_is_an_rbm():
    rbm, deep = shallow_twins()
    state = {"visible": torch.ones(5, 6), "hidden": torch.ones(5, 4)}
    twin = {"visible": state["visible"], "hidden1": state["hidden"]}
    assert torch.equal(rbm.energy(state), deep.energy(twin))
    assert hm.log_partition(rbm) == hm.log_partition(deep)
    assert torch.equal(hm.sample(rbm, 20, steps=5, replicas=3), hm.sample(deep, 20, steps=5, replicas=3))
    x = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (60, 6))).float()
    assert torch.equal(rbm.free_energy(x), deep.free_energy(x))
    assert torch.equal(rbm.encode(x), deep.encode(x))
    assert torch.equal(rbm.reconstruct(x), deep.reconstruct(x))
    assert hm.log_likelihood(rbm, x).to_dict() == hm.log_likelihood(deep, x).to_dict()
    ends = [hm.log_partition(m, "bridge", runs=20, betas=50, equilibrate=10) for m in (rbm, deep)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("kind", ["PCD", "CD", "VariationalPCD", "ExactLikelihood"])
def test_a_machine_of_one_hidden_layer_learns_as_an_rbm(kind):
    rbm, deep = shallow_twins()
    own = {"steps": 1} if "CD" in kind else {}
    rule = getattr(hm, kind)(**own)
    x = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], (60, 6))).float()
    hm.fit(deep, x, rule, epochs=2, batch_size=20)
    hm.fit(
        rbm, x, hm.PCD(burn_in=rule.burn_in) if kind == "VariationalPCD" else rule, epochs=2, batch_size=20
    )
    assert torch.equal(rbm.weight, deep.weights[0])
    assert torch.equal(rbm.hidden.bias, deep.layers[1].bias)


def test_a_label_beside_one_hidden_layer_is_a_part_of_an_rbms_visible_layer():
    deep = hm.DBM([4, 3], classes=3, seed=1).double()
    rbm = hm.RBM(hm.Mixed(hm.Bernoulli(4), hm.Categorical(1, 3)), 3).double()
    with torch.no_grad():
        for p in deep.parameters():
            p.copy_(
                Stream(p.numel(), "label").normal(*torch.atleast_2d(p).shape, torch.float64).view(p.shape)
            )
        rbm.weight.copy_(torch.cat((deep.weights[0], deep.label_weight)))
        rbm.visible.bias.copy_(torch.cat((deep.layers[0].bias, deep.label.bias)))
        rbm.hidden.bias.copy_(deep.layers[1].bias)
    rows = torch.tensor([[0, 1, 1, 0, 2], [1, 1, 0, 0, 0]])
    torch.testing.assert_close(deep.free_energy(rows), rbm.free_energy(rows))
    assert hm.log_partition(deep).value == pytest.approx(hm.log_partition(rbm).value, rel=1e-12)


# --- chains -------------------------------------------------------------------------------------


def check_drift(model, steps, n=4000, clamps=({},), betas=(1.0,)):
    """Check that chains which start in their distribution are still in it after some steps.

    Arguments:
        model: A small machine.
        steps: How many steps.
        n: Chains of each kind.
        clamps: What is held, of each kind of chains, by block, NaN where free.
        betas: The inverse temperature of each kind.
    """
    kinds = [(clamp, beta) for clamp in clamps for beta in betas]
    joints = [Joint(model, beta) for _, beta in kinds]
    p = [
        j.given({b: np.array(x) for b, x in c.items()}) if c else j.p
        for j, (c, _) in zip(joints, kinds, strict=True)
    ]
    starts = [j.draw(n, [steps, i], p[i]) for i, j in enumerate(joints)]
    start = {b: torch.cat([s[b] for s in starts]).to(model.dtype) for b in model.blocks()}
    held = {}
    for block in {block for clamp, _ in kinds for block in clamp}:
        free = [torch.nan] * model.layer(block).width
        rows = torch.tensor([clamp.get(block, free) for clamp, _ in kinds])
        held[block] = rows.to(model.dtype).repeat_interleave(n, 0)
    beta = torch.tensor([beta for _, beta in kinds], dtype=model.dtype).repeat_interleave(n)
    gibbs, stream = Gibbs(), Stream(steps, "chains")
    beta = None if set(betas) == {1.0} else beta
    state = gibbs.init(model, n * len(kinds), stream, start, held or None, beta)
    state = gibbs.run(model, state, stream, steps)
    for i, joint in enumerate(joints):
        joint.check({block: state[block][i * n : i * n + n] for block in model.blocks()}, p[i])


@pytest.mark.parametrize("steps", [1, 4, 16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("label", SHAPES)
def test_no_drift(label, steps, dtype):
    check_drift(machine(label, dtype=dtype), steps)


@pytest.mark.parametrize("label", ["three", "masked", "label", "real with a label"])
def test_no_drift_at_several_temperatures_at_once(label, path):
    check_drift(machine(label, dtype=torch.float32), 4, betas=(1.0, 0.5, 1.7))


@pytest.mark.parametrize(
    ("label", "clamps"),
    [
        ("bits", [{"visible": [1, np.nan, 0]}, {"hidden2": [np.nan, 1]}, {"visible": [0, 1, 1]}]),
        ("codes", [{"visible": [np.nan] * 3 + [0, 1, 0]}, {"hidden1": [-1, np.nan]}]),
        ("three", [{"visible": [1, 0, np.nan], "hidden3": [np.nan, 0]}, {}]),
        ("label", [{"label": [0, 0, 1]}, {"label": [1, 0, 0], "visible": [np.nan, 1, 0]}, {}]),
        ("label above three", [{"label": [0, 1]}, {"visible": [1, np.nan]}]),
        ("real with a label", [{"label": [0, 1], "hidden1": [np.nan, 1]}, {"label": [1, 0]}]),
    ],
)
def test_no_drift_with_units_held(label, clamps):
    check_drift(machine(label), 4, clamps=clamps)


def test_no_drift_with_units_held_at_several_temperatures():
    clamps = [{"label": [0, 0, 1], "visible": [np.nan, np.nan, 1]}, {}]
    check_drift(machine("label"), 4, clamps=clamps, betas=(1.0, 0.4))


@pytest.mark.parametrize("label", ["bits", "three", "label", "codes"])
def test_chains_find_the_distribution(label):
    model = machine(label, scale=0.5)
    n, stream = 4000, Stream(1, "chains")
    Joint(model).check(Gibbs().run(model, Gibbs().init(model, n, stream), stream, 60))


def test_neighbours_that_are_drawn_at_once_leave_the_distribution(monkeypatch):
    step = Gibbs.step

    def wrong(self, model, state, stream):
        field = model.field("hidden1", state)
        state, info = step(self, model, state, stream)
        return {**state, "hidden1": model.layer("hidden1").sample_(field, stream)}, info

    monkeypatch.setattr(Gibbs, "step", wrong)
    with pytest.raises(AssertionError):
        check_drift(machine("bits", scale=1.5), 4)


@pytest.mark.parametrize(
    ("label", "clamp"),
    [
        ("spins", {}),
        ("three", {}),
        ("masked", {}),
        ("label", {}),
        ("label", {"label": [0.0, 1.0, 0.0]}),
        ("label above three", {"visible": [1.0, np.nan], "label": [1.0, 0.0]}),
    ],
)
def test_no_rung_of_a_ladder_drifts(label, clamp):
    model, n = machine(label), 3000
    own = {block: model.layer(block).bias.detach().numpy() for block in model.observed_blocks()}
    tempering, stream = Tempering([1.0, 0.6, 0.0]), Stream(0, "ladder")
    joints = [Joint(model, beta, own) for beta in tempering.betas.tolist()]
    limits = {block: np.array(x) for block, x in clamp.items()}
    p = [joint.given(limits) if clamp else joint.p for joint in joints]
    starts = [joint.draw(n, [1, i], p[i]) for i, joint in enumerate(joints)]
    held = {block: torch.tensor(x).double().repeat(n, 1) for block, x in clamp.items()}
    state = tempering.init(model, n, stream, starts[0], held or None)
    for i, start in enumerate(starts):
        for block, x in start.items():
            state[block][i :: len(starts)] = x
    for _ in range(5):
        state, info = tempering.step(model, state, stream)
    assert 0.1 < float(info["swap_rates"].min()) < 0.999
    for i, joint in enumerate(joints):
        joint.check(tempering.chains(model, state, i), p[i])


def test_rows_are_drawn_with_what_is_held():
    model = machine("label", dtype=torch.float32)
    clamp = torch.tensor([torch.nan, 1, torch.nan, 2])
    for replicas in (1, 3):
        rows = hm.sample(model, 3000, steps=30, clamp=clamp, replicas=replicas)
        assert rows.shape == (3000, 4)
        assert (rows[:, 1] == 1).all()
        assert (rows[:, 3] == 2).all()
        joint = Joint(model)
        p = joint.given({"visible": np.array([np.nan, 1, np.nan]), "label": np.array([0, 0, 1])})
        check_mean(rows[:, [0, 2]], p @ joint.blocks["visible"][:, [0, 2]], 4.5)
    means = hm.sample(model, 3000, steps=30, clamp=clamp, means=True)
    assert means.shape == (3000, 6)
    assert torch.equal(means[:, [1, 3, 4, 5]], torch.tensor([1.0, 0, 0, 1]).expand(3000, 4))
    free = hm.sample(model, 3000, steps=30, clamp=torch.tensor([1.0, 0, 1, torch.nan]))[:, 3].long()
    p = Joint(model).given({"visible": np.array([1.0, 0, 1])}) @ Joint(model).blocks["label"]
    check_frequencies(free.numpy(), p)


# --- annealing ----------------------------------------------------------------------------------


def test_annealing_brackets_the_sum(model):
    found = hm.log_partition(model, "bridge", runs=400, betas=80, equilibrate=300)
    exact = Joint(model).log_partition
    assert found.trusted, found.reason
    assert abs(found.value - exact) <= 4 * found.standard_error
    assert found.lower <= exact + 4 * found.lower_standard_error
    assert found.upper >= exact - 4 * found.upper_standard_error


@pytest.mark.parametrize("label", ["label", "three"])
def test_annealing_from_base_rates_and_chains_brackets_the_sum(label):
    model = machine(label)
    rows = some_rows(model, 50, seed=3)
    model.initialise(model.visible.smoothed(rows.sum(0), len(rows)))
    joint = Joint(model)
    chains = model.visible.values(model.shown(joint.draw(2000)))
    options = {"betas": 10, "schedule": "linear", "equilibrate": 2, "chains": chains}
    found = hm.log_partition(model, "bridge", runs=2000, **options)
    for end, error in (
        (found.value, found.standard_error),
        (found.lower, found.lower_standard_error),
        (found.upper, found.upper_standard_error),
    ):
        assert abs(end - joint.log_partition) <= 4 * error


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("label", SHAPES)
def test_the_mean_weight_of_few_steps_is_unbiased(label, reverse):
    model = machine(label, scale=0.7)
    base, joint, n = _ais.Base(model), Joint(model), 10_000
    betas, stream = torch.linspace(0, 1, 4, dtype=torch.float64), Stream(3, "weights")
    rise = joint.log_partition - base.log_partition
    if reverse:
        log_weight, _ = _ais.anneal(model, base, betas.flip(0), joint.draw(n), stream)
        check_mean((log_weight + rise).exp().numpy(), 1.0)
    else:
        log_weight, _ = _ais.anneal(model, base, betas, base.sample(model, n, stream), stream)
        check_mean((log_weight - rise).exp().numpy(), 1.0)


@pytest.mark.parametrize("label", SHAPES)
def test_chains_of_annealing_keep_no_two_neighbours(label):
    model = machine(label)
    base = _ais.Base(model)
    if model.depth == 2 and model.label is None:
        assert base.kept == ("hidden1",)
    others = [block for block in model.blocks() if block not in base.kept]
    assert len(base.kept) <= len(others)
    for group in (base.kept, others):
        assert not any(c.lower in group and c.upper in group for c in model.couplings())
    betas, stream = torch.linspace(0, 1, 3, dtype=torch.float64), Stream(0, "kept")
    _, last = _ais.anneal(model, base, betas, base.sample(model, 5, stream), stream)
    assert set(last) == set(base.kept)


# --- mean field ---------------------------------------------------------------------------------


def expectation(layer, field):
    """Return the expected statistics of discrete units, by the sum over each unit's states."""
    if layer.kind == "mixed":
        ends = np.cumsum([part.width for part in layer.parts])[:-1]
        parts = zip(layer.parts, np.split(field, ends, 1), strict=True)
        return np.concatenate([expectation(part, own) for part, own in parts], 1)
    if layer.kind == "bernoulli":
        return 1 / (1 + np.exp(-field))
    if layer.kind == "spin":
        return np.tanh(field)
    parts = np.exp(field.reshape(len(field), layer.size, -1))
    return (parts / parts.sum(2, keepdims=True)).reshape(field.shape)


@pytest.mark.parametrize("labelled", [True, False])
def test_mean_field_settles_where_each_mean_follows_from_the_others(model, labelled):
    given = seen_by(model, labelled=labelled)
    q = mean_field(model, given, tolerance=1e-12, steps=2000)
    assert q.sweeps < 2000
    assert q.residual <= 1e-12
    assert set(q.fields) == set(model.blocks()) - set(given)
    own = {name: p.detach().numpy() for name, p in model.named_parameters()}
    means = {block: x.detach().numpy() for block, x in q.means.items()} | {
        block: x.numpy() for block, x in given.items()
    }
    for block in q.fields:
        field = own[f"{chain(model)[block]}.bias"]
        for a, b, name in couplings(model):
            if block in (a, b):
                field = field + (means[a] @ own[name] if block == b else means[b] @ own[name].T)
        np.testing.assert_allclose(q.fields[block].numpy(), field, atol=1e-10)
        np.testing.assert_allclose(means[block], expectation(model.layer(block), field), atol=1e-10)


@pytest.mark.parametrize("labelled", [True, False])
def test_the_bound_is_its_definition_after_any_number_of_sweeps(model, labelled):
    given = seen_by(model, labelled=labelled)
    exact = log_sums(model, {block: x.numpy() for block, x in given.items()})
    before = -np.inf
    for steps in range(7):
        q = mean_field(model, given, tolerance=1e-300, steps=steps)
        assert q.sweeps == steps
        bound = _posterior.variational_bound(model, given, q).detach().numpy()
        np.testing.assert_allclose(bound, naive_bound(model, given, q), rtol=1e-10)
        assert (bound <= exact + 1e-10).all()
        assert (bound >= before - 1e-10).all()
        before = bound
    assert (bound < exact - 1e-3).any()


def test_the_bound_is_exact_where_the_posterior_is_a_product(model):
    with torch.no_grad():
        for _, _, name in couplings(model)[1:]:
            model.get_parameter(name).zero_()
    given = seen_by(model)
    bound = _posterior.variational_bound(model, given, mean_field(model, given)).detach().numpy()
    exact = log_sums(model, {block: x.numpy() for block, x in given.items()})
    np.testing.assert_allclose(bound, exact, rtol=1e-12)


@pytest.mark.parametrize("label", SHAPES)
def test_damping_settles_at_the_same_means(label):
    """Weak couplings leave but one fixed point."""
    model = machine(label, scale=0.4)
    given = seen_by(model)
    plain, damped = (
        mean_field(model, given, tolerance=1e-11, steps=3000, damping=damping) for damping in (0.0, 0.7)
    )
    assert damped.sweeps > plain.sweeps
    for block in plain.fields:
        torch.testing.assert_close(plain.means[block], damped.means[block], rtol=0, atol=1e-8)


def test_damping_keeps_its_share_of_the_old_fields():
    model = machine("bits")
    given = seen_by(model)
    first = mean_field(model, given, steps=0)
    one = mean_field(model, given, steps=1, damping=0.25)
    state = {**given, "hidden1": first.means["hidden1"]}
    expected = 0.75 * model.field("hidden2", state) + 0.25 * first.fields["hidden2"]
    torch.testing.assert_close(one.fields["hidden2"], expected.detach())


def test_a_start_that_is_near_takes_fewer_sweeps(model):
    given = seen_by(model)
    cold = mean_field(model, given, tolerance=1e-8, steps=500)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.0001
    again = mean_field(model, given, tolerance=1e-8, steps=500)
    warm = mean_field(model, given, tolerance=1e-8, steps=500, start=cold.means)
    assert 0 < warm.sweeps < again.sweeps
    for block in warm.fields:
        torch.testing.assert_close(warm.means[block], again.means[block], rtol=0, atol=1e-6)


@pytest.mark.parametrize("label", SHAPES)
def test_mean_field_tells_by_how_much_the_last_sweep_moved(label):
    model = machine(label, scale=0.4)
    given = seen_by(model)
    by_steps = [mean_field(model, given, tolerance=1e-300, steps=n) for n in range(5)]
    assert by_steps[0].residual == 0
    for before, q in pairwise(by_steps):
        moved = max(float((q.means[b] - before.means[b]).abs().max()) for b in q.fields)
        assert q.residual == pytest.approx(moved, rel=1e-12)
    tolerance = by_steps[2].residual
    first = next(n for n, q in enumerate(by_steps) if n and q.residual <= tolerance)
    assert mean_field(model, given, tolerance=tolerance, steps=50).sweeps == first


def test_rows_settle_with_their_own_label():
    model = machine("label", scale=2.0)
    bare = seen_by(model, labelled=False)
    q = mean_field(model, bare, steps=500)
    assert q.means["label"].shape == (6, 3)
    torch.testing.assert_close(q.means["label"].sum(1), torch.ones(6).double())
    means = [
        mean_field(model, {**bare, "label": torch.eye(3).double()[[code] * 6]}).means["hidden2"]
        for code in range(3)
    ]
    assert (means[0] - means[1]).abs().max() > 0.1


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("label", LABELLED)
def test_a_label_is_inferred_from_what_is_given(label, multi):
    """By a loop over sweeps, blocks and couplings, from the means of the biases on."""
    model = machine(label)
    x, below = some_rows(model).numpy()[:, : model.layers[0].width], model.layers[0]
    missing = np.random.default_rng(1).random((6, below.size)) < 0.4
    wide = below.expand(torch.from_numpy(missing)).numpy()
    rows = below.values(torch.from_numpy(x)).double().masked_fill(torch.from_numpy(missing), torch.nan)
    own = {name: p.detach().numpy() for name, p in model.named_parameters()}
    order = [*chain(model)]
    *hidden, last = [f"hidden{n}" for n in range(1, model.depth + 1)]
    upward = [last, *hidden, "visible", "label"]
    assert {*upward} == {*order}
    means = {}

    def follow(block, field):
        mean = expectation_of(model.layer(block), field)
        if block == "visible":
            mean = np.where(wide, mean, (x + mean) / 2 if multi else x)
        means[block] = mean

    for block in order:
        follow(block, np.tile(own[f"{chain(model)[block]}.bias"], (6, 1)))
    for _ in range(3):
        for block in upward:
            field = own[f"{chain(model)[block]}.bias"]
            for a, b, name in couplings(model):
                if block in (a, b):
                    field = field + (means[a] @ own[name] if block == b else means[b] @ own[name].T)
            follow(block, field)
    how = "multi-inference" if multi else "mean-field"
    found = hm.predict_proba(model, rows, inference=how, sweeps=3)
    np.testing.assert_allclose(found.numpy(), means["label"], rtol=1e-9)
    assert torch.equal(hm.predict(model, rows, inference=how, sweeps=3), found.argmax(1))


@pytest.mark.parametrize("label", [*LABELLED, "label beside"])
def test_a_label_is_predicted_as_multi_prediction_learned_to(label):
    """Where the label is all that a row lacks, the loss is that of the prediction."""
    model = machine(label)
    rows = some_rows(model)

    class Pixels(hm.MultiPrediction):
        def _given(self, block, unit, rows, stream):
            given = torch.ones(rows, unit.size, dtype=torch.bool)
            given[:, -1] = model.label is not None and block != "label"
            return given

    weights = torch.from_numpy(np.random.default_rng(1).random(6))
    batch = Batch(rows, weights, torch.arange(6))
    loss = Pixels(sweeps=2).loss(model, batch, {}, Stream(0)).detach()
    values = model.visible.values(rows)
    p = hm.predict_proba(model, values, sweeps=2).gather(1, values[:, -1:].long())[:, 0]
    assert loss.item() == pytest.approx(-float((weights @ p.log()).detach()))


def expectation_of(layer, field):
    """Return expected statistics of any units."""
    if layer.kind == "gaussian":
        return field / layer.precision.detach().numpy()
    return expectation(layer, field)


@pytest.mark.parametrize("as_statistics", [False, True])
@pytest.mark.parametrize("multi", [False, True])
def test_a_label_beside_the_visible_units_is_inferred_from_them(multi, as_statistics):
    """By a loop over sweeps; a machine whose hidden units sum out is exact instead, and needs no sweeps."""
    model, how = machine("label beside"), "multi-inference" if multi else "mean-field"
    own = {name: p.detach().numpy() for name, p in model.named_parameters()}
    rows = some_rows(model)
    x = rows.numpy()[:, :2]
    fields = {place: np.tile(own[f"{place}.bias"], (6, 1)) for place in chain(model).values()}
    means = {}
    for sweep in range(4):
        for n, place in enumerate(("layers.1", "layers.2", "layers.0")):
            if sweep:
                field = own[f"{place}.bias"]
                field = field + (means["layers.0"] @ own["weights.0"] if n == 0 else 0)
                field = field + (means["layers.2"] @ own["weights.1"].T if n == 0 else 0)
                field = field + (means["layers.1"] @ own["weights.1"] if n == 1 else 0)
                field = field + (means["layers.1"] @ own["weights.0"].T if n == 2 else 0)
                fields[place] = field
            mean = expectation(model.layers[int(place[-1])], fields[place])
            if place == "layers.0":
                mean[:, :2] = (x + mean[:, :2]) / 2 if multi else x
            means[place] = mean
    given = rows if as_statistics else rows[:, :2]
    found = hm.predict_proba(model, given, inference=how, sweeps=3)
    np.testing.assert_allclose(found.numpy(), means["layers.0"][:, 2:], rtol=1e-9)
    whole = torch.cat((rows[:, :2], found.argmax(1, keepdim=True)), 1)
    assert torch.equal(hm.predict_proba(model, whole, inference=how, sweeps=3), found)
    lacking = rows[:, :2].masked_fill(torch.eye(6, 2).bool(), torch.nan)
    gaps = hm.predict_proba(model, lacking, inference=how, sweeps=3)
    assert torch.equal(gaps[2:], found[2:])
    assert not torch.allclose(gaps[:2], found[:2])


def test_a_machine_with_its_label_beside_counts_wrong_labels():
    model = machine("label beside")
    rows = model.visible.values(some_rows(model, 50))
    wrong = (hm.predict(model, rows) != rows[:, -1]).double().mean()
    assert error_rate(model, rows) == wrong
    history = hm.fit(model, rows, hm.MultiPrediction(), epochs=1, validation=rows)
    assert history.records[-1]["validation/error"] == error_rate(model, rows)


@pytest.mark.parametrize("label", LABELLED)
def test_whole_rows_are_inferred_as_mean_field_settles(label):
    model = machine(label, scale=0.4)
    rows = model.layers[0].values(some_rows(model)[:, : model.layers[0].width])
    settled = hm.predict_proba(model, rows)
    torch.testing.assert_close(hm.predict_proba(model, rows, sweeps=500), settled, rtol=0, atol=1e-3)
    other = hm.predict_proba(model, rows, inference="multi-inference")
    assert not torch.allclose(other, settled, atol=1e-3)


def test_inference_is_asked_for_in_its_words():
    model, rows = machine("label"), torch.zeros(2, 3)
    with pytest.raises(ArgumentError, match=r"^inference: unknown 'gibbs', expected"):
        hm.predict(model, rows, inference="gibbs")
    with pytest.raises(ArgumentError, match=r"^model: got a dbm without a label, expected one with"):
        hm.predict(machine("three"), rows)
    with pytest.raises(ArgumentError, match=r"^sweeps: got 0, expected a positive number"):
        hm.predict(model, rows, sweeps=0)
    with pytest.raises(ArgumentError, match=r"^sweeps: got 3, expected no such argument, .* mlp"):
        hm.predict(hm.MLP([3, 2], 2), rows, sweeps=3)
    with pytest.raises(DataError, match=r"^rows: got shape \(2, 5\), expected \(rows, 3\)"):
        hm.predict(model, torch.zeros(2, 5))
    with pytest.raises(DataError, match=r"^rows: got 2"):
        hm.predict(model, torch.tensor([[0.0, torch.nan, 2.0]]))


# --- likelihood ---------------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [True, False])
def test_a_likelihood_that_is_enumerated_stands_beside_its_bound(model, labelled):
    given = seen_by(model, labelled=labelled)
    rows = model.visible.values(some_rows(model))
    if not labelled:
        rows = rows[:, : model.layers[0].size]
    exact = log_sums(model, {block: x.numpy() for block, x in given.items()})
    log_z = Joint(model).log_partition
    found = hm.log_likelihood(model, rows)
    assert found.method == "exact"
    assert found.mean == pytest.approx(exact.mean() - log_z, rel=1e-10)
    assert found.lower == found.upper == found.mean
    assert found.importance_samples == 0
    assert found.data_standard_error == pytest.approx(exact.std(ddof=1) / len(rows) ** 0.5)
    q = mean_field(model, given, tolerance=1e-6, steps=500)
    assert found.bound == pytest.approx(naive_bound(model, given, q).mean() - log_z, rel=1e-9)
    assert found.bound_standard_error == 0
    assert found.bound < found.mean


@pytest.mark.parametrize("labelled", [True, False])
def test_the_mean_weight_of_the_posterior_is_unbiased(model, labelled):
    n = 6000
    rows = some_rows(model, 3)
    if not labelled:
        rows = rows[:, : model.layers[0].width]
    exact = log_sums(model, {block: x.numpy() for block, x in model.states(rows).items()})
    many = rows.repeat_interleave(n, 0)
    paths = _posterior.weigh_posterior(model, many, 1, Stream(1, "importance"))
    assert paths.estimate_error.isinf().all()
    for weights, log_p in zip(paths.estimate.view(3, n).numpy(), exact, strict=True):
        check_mean(np.exp(weights - log_p), 1.0)


def test_importance_sampling_estimates_the_likelihood(model):
    rows = model.visible.values(some_rows(model, 5))
    exact = hm.log_likelihood(model, rows)
    found = hm.log_likelihood(model, rows, samples=2000, log_partition=exact.log_partition)
    assert found.importance_samples == 2000
    assert 0 < found.importance_ess < 2000
    assert 0 < found.standard_error < 0.05
    assert abs(found.mean - exact.mean) <= 4 * found.standard_error
    assert found.bound == pytest.approx(exact.bound, rel=1e-9)
    few = hm.log_likelihood(model, rows, samples=1, log_partition=exact.log_partition)
    assert few.standard_error == np.inf


def test_rows_are_weighed_alike_whole_or_in_parts():
    model = machine("label")
    rows = some_rows(model, 9)
    whole = _posterior.weigh_posterior(model, rows, 2, Stream(0, "parts")).bound
    parts = [_posterior.weigh_posterior(model, row[None], 1, Stream(0, "parts")).bound for row in rows]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=0, atol=1e-5)


def test_ends_of_log_z_are_ends_of_the_likelihood():
    model = machine("three")
    rows = model.visible.values(some_rows(model))
    exact = hm.log_likelihood(model, rows)
    z = exact.log_partition.value
    wide = LogPartition(z + 0.1, z - 1, z + 2, 0.3, "bridge")
    found = hm.log_likelihood(model, rows, log_partition=wide)
    assert found.bound == pytest.approx(exact.bound - 2)
    assert found.mean == pytest.approx(exact.mean - 0.1)
    assert found.lower == pytest.approx(exact.mean - 2)
    assert found.upper == pytest.approx(exact.mean + 1)
    assert found.standard_error == 0.3


def test_single_precision_is_judged_in_double():
    model = machine("label", dtype=torch.float32)
    rows = model.visible.values(some_rows(model).float())
    double = hm.log_likelihood(machine("label", dtype=torch.float32).double(), rows)
    found = hm.log_likelihood(model, rows)
    assert (found.mean, found.bound) == (double.mean, double.bound)
    assert model.dtype == torch.float32


def test_samples_are_refused_where_hidden_units_sum_out():
    with pytest.raises(ArgumentError, match="samples: got 5, expected None, as the hidden units of this dbm"):
        hm.log_likelihood(hm.DBM([4, 3]), torch.zeros(2, 4), samples=5)
    for wrong in (0, -1, True, 2.5):
        with pytest.raises(ArgumentError, match=r"samples: got .*, expected a positive number"):
            hm.log_likelihood(hm.DBM([4, 3, 2]), torch.zeros(2, 4), samples=wrong)


# --- gradients ----------------------------------------------------------------------------------


def weighted_joint(model):
    """Return joint states and weights of the model's exact moments, Gaussian ones a deviation off."""
    joint = Joint(model)
    state = {block: torch.from_numpy(x) for block, x in joint.blocks.items()}
    if "visible" in state:
        return state, torch.from_numpy(joint.p)
    twice = {block: torch.cat((x, x)) for block, x in state.items()}
    ends = np.concatenate((joint.mean + joint.deviation, joint.mean - joint.deviation))
    return {**twice, "visible": torch.from_numpy(ends)}, torch.from_numpy(np.tile(joint.p, 2) / 2)


def bound_gradient(model, given, weights, q):
    """Return the gradient of minus the mean bound, q held, by autograd of enumerated sums."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    numbers = {block: x.numpy() for block, x in given.items()}
    states = above(model, numbers)
    share = torch.from_numpy(np.exp(log_factorial(model, q, states)))
    n, rows = share.shape[1], len(weights)
    joint = {block: x.repeat_interleave(n, 0) for block, x in given.items()}
    joint |= {block: torch.from_numpy(np.tile(x, (rows, 1))) for block, x in states.items()}
    data = (share * energies(model, joint, parameters).view(rows, n)).sum(1)
    log_z = log_normaliser(model, parameters)
    loss = weights @ data + weights.sum() * log_z
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))


def log_normaliser(model, parameters):
    """Return log Z for autograd."""
    joint = Joint(model)
    state = {block: torch.from_numpy(x) for block, x in joint.blocks.items()}
    log_f = -energies(model, state, parameters)
    if "visible" not in state:
        beta = parameters["layers.0.log_precision"].exp()
        field = parameters["layers.0.bias"] + state["hidden1"] @ parameters["weights.0"].T
        log_f = log_f + (field**2 / (2 * beta) + 0.5 * torch.log(2 * torch.pi / beta)).sum(1)
    return torch.logsumexp(log_f, 0)


def recentred(model, label, gradients, offsets, pace):
    """Return what plain gradients become when the step is taken in centred coordinates.

    The biases of a model in s - mu are b + W mu; the plain parameters are a linear function J of them, so
    that the step which follows their gradient is J D J' times the plain gradient, where D slows couplings.
    """

    def plain(own):
        own = dict(own)
        for (a, b, name), mask in zip(couplings(model), masks(label), strict=True):
            own[name] = own[name] * torch.from_numpy(mask)
            below, beside = (f"{chain(model)[block]}.bias" for block in (a, b))
            own[below] = own[below] - own[name] @ offsets[b]
            own[beside] = own[beside] - offsets[a] @ own[name]
        return own

    _, back = torch.func.vjp(plain, {name: p.detach() for name, p in model.named_parameters()})
    return plain(slowed(model, back(gradients)[0], pace))


def slowed(model, gradients, pace):
    """Return gradients of which those of couplings between hidden layers are multiplied by a number."""
    slow = {name for a, b, name in couplings(model) if a.startswith("hidden") and b.startswith("hidden")}
    return {name: gradient * (pace if name in slow else 1) for name, gradient in gradients.items()}


def check_exact_gradient(label, rule, states=weighted_joint):
    """Check that with exact states a rule's step is down minus the bound, q held, centred if it is.

    Arguments:
        label: Of the machine.
        rule: A variational rule.
        states: Returns the states that stand for the model, and their weights.
    """
    model = machine(label)
    sample, p = states(model)

    class Exactly(type(rule)):
        def negative(self, model, data, fields, state, stream):
            return sample, {}

        def shares(self, batch, sample):
            return torch.cat((-batch.weights, batch.weights.sum() * p))

    rows = some_rows(model, 7, seed=1)
    weights = torch.from_numpy(np.random.default_rng(2).dirichlet(np.ones(7)))
    given = model.states(rows)
    q = mean_field(model, given, steps=rule.data_steps, tolerance=rule.tolerance, damping=rule.damping)
    expected = bound_gradient(model, given, 1.3 * weights, q)
    state = rule.init(model, Stream(0))
    batch = Batch(rows, 1.3 * weights, torch.arange(7))
    state, _ = Exactly(**rule.model_dump()).update(model, batch, state, Stream(0), nothing)
    offsets = {name.removeprefix("offset."): x for name, x in state.items() if "offset" in name}
    assert bool(offsets) == bool(rule.centred)
    if offsets:
        expected = recentred(model, label, expected, offsets, rule.hidden_pace)
    else:
        expected = slowed(model, expected, rule.hidden_pace)
    for (_, _, name), mask in zip(couplings(model), masks(label), strict=True):
        expected[name] = expected[name] * torch.from_numpy(mask)
    for name, p in model.named_parameters():
        step = rule.rates(model).get(name, 1.0) * p.grad
        torch.testing.assert_close(step, expected[name], rtol=1e-9, atol=1e-10, msg=name)


def check_chain_gradient(label, draws=40, chains=200, scale=1.0):
    """Check the mean gradient of updates whose chains start exactly in the model's distribution."""
    model = machine(label, scale=scale)
    rule, stream = hm.VariationalPCD(chains=chains, centred=False, steps=2), Stream(0, "gradient")
    rows = some_rows(model, 5, seed=1)
    batch = Batch(rows, torch.full((5,), 0.2, dtype=torch.float64), torch.arange(5))
    given = model.states(rows)
    q = mean_field(model, given, steps=rule.data_steps, tolerance=rule.tolerance)
    expected = bound_gradient(model, given, batch.weights, q)
    starts, seen = Joint(model).draw(draws * chains), []
    for i in range(draws):
        state = {f"chain.{b}": x[i * chains : (i + 1) * chains] for b, x in starts.items()}
        rule.update(model, batch, state, stream, nothing)
        seen.append(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy())
    flat = torch.cat([expected[name].flatten() for name, _ in model.named_parameters()])
    check_average(np.array(seen), flat.numpy())


def of_the_mean_field(model):
    """Return the mean field of the model itself: what must not stand for it."""
    return mean_field(model, {}, steps=500).means, torch.ones(1, dtype=torch.float64)


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("label", SHAPES)
def test_the_gradient_is_that_of_the_bound(label, centred):
    check_exact_gradient(label, hm.VariationalPCD(centred=centred, offset_rate=0.3))


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("label", SHAPES)
def test_couplings_between_hidden_layers_learn_at_their_pace(label, centred):
    check_exact_gradient(label, hm.VariationalPCD(centred=centred, offset_rate=0.3, hidden_pace=0.2))


@pytest.mark.parametrize(
    "options", [{"data_steps": 1}, {"damping": 0.6, "data_steps": 3}, {"tolerance": 0.3}]
)
def test_the_gradient_is_that_of_the_bound_where_mean_field_has_not_settled(options):
    check_exact_gradient("three", hm.VariationalPCD(centred=False, **options))


@pytest.mark.parametrize("label", SHAPES)
def test_mean_field_must_not_stand_for_the_model(label):
    rule = hm.VariationalPCD(centred=False)
    check_exact_gradient(label, rule)
    with pytest.raises(AssertionError):
        check_exact_gradient(label, rule, of_the_mean_field)


@pytest.mark.parametrize("label", SHAPES)
def test_multi_prediction_goes_back_through_all_sweeps(label):
    """The loss and its gradient by a loop over sweeps, blocks and couplings, and autograd."""
    model, sweeps = machine(label), 3
    rows, generator = some_rows(model, 5, seed=3), np.random.default_rng(4)
    data = model.states(rows)
    given = {b: torch.from_numpy(generator.random((5, model.layer(b).size)) < 0.5) for b in data}

    class Given(hm.MultiPrediction):
        def _given(self, block, unit, rows, stream):
            return given[block]

    own, places = dict(model.named_parameters()), chain(model)
    fields = {block: own[f"{place}.bias"].repeat(5, 1) for block, place in places.items()}
    means = {}

    def follow(block):
        mean = model.layer(block).expected_statistics(fields[block])
        if block in data:
            mean = torch.where(model.layer(block).expand(given[block]), data[block], mean)
        means[block] = mean

    for block in places:
        follow(block)
    *hidden, last = [f"hidden{n}" for n in range(1, model.depth + 1)]
    for _ in range(sweeps):
        for block in [last, *hidden, *data] if model.label is not None else [*hidden, last, *data]:
            field = own[f"{places[block]}.bias"]
            for a, b, name in couplings(model):
                if block in (a, b):
                    field = field + (means[a] @ own[name] if block == b else means[b] @ own[name].T)
            fields[block] = field
            follow(block)
    each = {block: -log_densities(model.layer(block), data[block], fields[block]) for block in data}
    cost = {"label": 3.0} if model.label is not None else {}
    total = sum(cost.get(block, 1) * (terms * ~given[block]).sum(1) for block, terms in each.items())
    weights = torch.from_numpy(generator.random(5))
    loss = weights @ total
    expected = torch.autograd.grad(loss, list(own.values()), allow_unused=True)
    batch = Batch(rows, weights, torch.arange(5))
    rule = Given(sweeps=sweeps, label_cost=cost.get("label", 1.0))
    _, told = rule.update(model, batch, {}, Stream(0), nothing)
    torch.testing.assert_close(told["loss"], loss.detach(), rtol=1e-10, atol=0)
    where = {name: torch.from_numpy(m) for (*_, name), m in zip(couplings(model), masks(label), strict=True)}
    for (name, p), gradient in zip(own.items(), expected, strict=True):
        gradient = gradient * where.get(name, 1)
        torch.testing.assert_close(p.grad, gradient, rtol=1e-8, atol=1e-10, msg=name)


def test_labels_that_are_never_given_are_predicted_from_all_else():
    model, sweeps = machine("label"), 4
    rows = some_rows(model, 6, seed=3)
    data = model.states(rows)
    known = {"visible": torch.ones_like(data["visible"], dtype=torch.bool)}
    known["label"] = torch.zeros_like(data["label"], dtype=torch.bool)
    fields = inferred_fields(model, data, known, sweeps)
    surprise = -fields["label"].log_softmax(-1)[data["label"] > 0].sum()
    rule = hm.MultiPrediction(sweeps=sweeps, known=1 - 1e-15, label_known=0, label_cost=3.0)
    batch = Batch(rows, torch.ones(6, dtype=torch.float64), torch.arange(6))
    _, told = rule.update(model, batch, {}, Stream(0), nothing)
    torch.testing.assert_close(told["loss"], 3 * surprise.detach(), rtol=1e-10, atol=0)


@pytest.mark.parametrize(("name", "value", "usual"), [("label_cost", 2.0, "1"), ("label_known", 0.0, "None")])
def test_what_concerns_a_label_asks_for_a_label_layer(name, value, usual):
    model = hm.DBM([4, 3, 2])
    with pytest.raises(ArgumentError, match=rf"{name}: got {value}, expected {usual} for a dbm without"):
        hm.fit(model, torch.zeros(4, 4), hm.MultiPrediction(**{name: value}), epochs=1)


def log_densities(layer, x, field):
    """Return the log-probability or -density of each unit's state in a field, shape (rows, size)."""
    if layer.kind == "mixed":
        ends = [part.width for part in layer.parts]
        parts = zip(layer.parts, x.split(ends, 1), field.split(ends, 1), strict=True)
        return torch.cat([log_densities(*part) for part in parts], 1)
    if layer.kind == "gaussian":
        scale = layer.precision.rsqrt()
        return torch.distributions.Normal(field * scale**2, scale).log_prob(x)
    if layer.kind == "categorical":
        log_p = torch.log_softmax(field.view(len(x), layer.size, -1), 2)
        return (log_p * x.view_as(log_p)).sum(2)
    ends = torch.nn.functional.logsigmoid
    return ends((2 * x - 1) * field) if layer.kind == "bernoulli" else ends(2 * x * field)


@pytest.mark.parametrize("label", ["spins", "three", "label", "real with a label"])
def test_chains_give_the_gradient_of_the_bound(monkeypatch, label):
    check_chain_gradient(label)

    def walk(self, model, chain, stream):
        means, _ = of_the_mean_field(model)
        return {block: means[block].expand_as(x) for block, x in chain.items()}, chain

    monkeypatch.setattr(hm.VariationalPCD, "walk", walk)
    with pytest.raises(AssertionError):
        check_chain_gradient(label)


def test_clamped_sampling_gives_the_moments_of_the_posterior():
    model = machine("label")
    rule = hm.VariationalPCD(data_phase="gibbs", data_steps=30)
    row = some_rows(model, 1)
    data, fields = rule.positive(model, row.repeat(4000, 1), Stream(0, "data"))
    assert fields == {}
    joint = Joint(model)
    p = joint.given({block: x[0].numpy() for block, x in model.states(row).items()})
    lower, upper = joint.blocks["hidden1"], joint.blocks["hidden2"]
    check_mean(data["hidden1"].numpy(), p @ lower)
    pairs = np.einsum("ni,nj->nij", data["hidden1"].numpy(), data["hidden2"].numpy())
    check_mean(pairs, np.einsum("n,ni,nj->ij", p, lower, upper))


# --- training -----------------------------------------------------------------------------------


def drawn_rows(model, n=1000, seed=0):
    """Return rows of values that are drawn from a machine."""
    return model.visible.values(model.shown(Joint(model).draw(n, seed)))


@pytest.mark.parametrize("label", SHAPES)
def test_learning_raises_the_likelihood(label):
    truth, model = machine(label, scale=1.0, seed=5), machine(label, scale=0.1, seed=6)
    rows = drawn_rows(truth)
    before = hm.log_likelihood(model, rows).mean
    rule = hm.VariationalPCD(chains=200, steps=1)
    history = hm.fit(model, rows, rule, epochs=15, batch_size=100, lr=0.05)
    after, best = (hm.log_likelihood(m, rows).mean for m in (model, truth))
    assert after > before + 0.5 * (best - before)
    record = history.records[-1]
    assert 1 <= record["rule/sweeps"] <= 10
    assert 0 <= record["rule/residual"] <= 0.1
    assert record["rule/unsettled"] == 0
    for (_, _, name), mask in zip(couplings(model), masks(label), strict=True):
        where = torch.from_numpy(np.broadcast_to(mask, model.get_parameter(name).shape).copy())
        assert torch.equal(model.get_parameter(name) != 0, where.bool())


def test_sparsity_and_norms_hold_in_all_hidden_layers():
    """Units that all data leave half on are pulled down; no weights into a unit grow beyond their norm."""
    rows, sparse = bits(200), {"sparsity_target": 0.1, "sparsity_cost": 3.0}
    activities = []
    for own in ({}, sparse):
        model = hm.DBM([6, 5, 4])
        rule = hm.VariationalPCD(chains=50, steps=1, centred=False, **own)
        hm.fit(model, rows, rule, epochs=20, batch_size=20, lr=0.1, max_norm=0.4, averaging=0.5)
        means = mean_field(model, model.states(rows)).means
        activities.append([float(means[block].mean()) for block in ("hidden1", "hidden2")])
        norms = torch.cat([weight.detach().norm(dim=0) for weight in model.weights])
        assert 0.1 < norms.max() <= 0.4 + 1e-5
    for plain, pulled in zip(*activities, strict=True):
        assert abs(pulled - 0.1) < 0.1 < abs(plain - 0.1)


def unsettled(what, **options):
    """Train a machine whose mean field does not settle in a sweep; return the history."""
    model = machine("bits", scale=3.0, dtype=torch.float32)
    rule = hm.VariationalPCD(chains=5, data_steps=1, most_residual=1e-3, unsettled=what, **options)
    return hm.fit(model, bits(40, 4)[:, :3], rule, epochs=2, batch_size=10)


@pytest.mark.parametrize("what", ["warn", "go-on"])
def test_mean_field_that_does_not_settle_is_told(caplog, what):
    with caplog.at_level(logging.WARNING, "harmonium"):
        history = unsettled(what)
    told = [record.getMessage() for record in caplog.records if "mean field" in record.getMessage()]
    last = history.records[-1]
    assert last["rule/unsettled"] == last["updates"] == 8
    assert last["rule/sweeps"] == 1
    assert last["rule/residual"] > 1e-3
    assert len(told) == (what == "warn")
    assert all("after 1 sweeps; raise data_steps, or set a damping" in text for text in told)


def test_mean_field_that_does_not_settle_ends_the_training_if_told():
    message = r"^mean field still moved by 0\.\d+ after 1 sweeps; raise data_steps, or set a damping"
    with pytest.raises(TrainingError, match=message):
        unsettled("stop")
    assert unsettled("go-on", tolerance=10.0).records[-1]["rule/sweeps"] == 1


def test_what_settles_ends_no_training(caplog):
    rule = hm.VariationalPCD(chains=5, unsettled="stop")
    with caplog.at_level(logging.WARNING, "harmonium"):
        history = hm.fit(hm.DBM([6, 4, 3]), bits(), rule, epochs=2, batch_size=10)
    assert history.records[-1]["rule/unsettled"] == 0
    assert not caplog.records


@pytest.mark.parametrize("classes", [None, 3])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_learns_or_refuses(name, classes):
    model = hm.DBM([6, 4, 3], classes=classes)
    rows = bits()
    if classes:
        rows = torch.cat((rows, torch.arange(len(rows))[:, None] % 3), 1)
    before = model.weights[0].clone()
    try:
        hm.fit(model, rows, RULES[name](), epochs=1, batch_size=20)
    except ArgumentError:
        assert torch.equal(model.weights[0], before)
    else:
        assert not torch.equal(model.weights[0], before)
        assert model.label is None or not torch.equal(model.label_weight, torch.zeros(3, 3))


@pytest.mark.parametrize("kind", ["bits", "label", "masked", "unsettled"])
def test_a_run_that_was_cut_goes_on_bit_for_bit(tmp_path, kind):
    rows, options = bits(), {}
    if kind == "label":
        rows = torch.cat((rows, torch.arange(40, dtype=torch.uint8)[:, None] % 3), 1)
        options["classes"] = 3
    if kind == "masked":
        options["masks"] = [hm.random_mask(6, 5, 3), None]
    model = hm.DBM([6, 5, 4], seed=2, **options)
    own = {"data_steps": 1, "tolerance": 1e-9, "most_residual": 1e-9} if kind == "unsettled" else {}
    rule = hm.VariationalPCD(chains=10, steps=2, **own)
    settings = {"epochs": 3, "batch_size": 16, "seed": 3, "checkpoint_every": 1e-9, "keep": 50}
    whole = hm.fit(model, rows, rule, out=tmp_path, **settings)
    assert whole.chains.shape == (10, rows.shape[1])
    for after in (1, 4, 8):
        back_to(tmp_path, after)
        assert same(hm.resume(tmp_path, rows), whole), after
        assert log(tmp_path)[-1]["updates"] == 9


# --- files, rows and mistakes -------------------------------------------------------------------


def test_a_machine_comes_back_from_its_file(model, tmp_path):
    hm.save(model, tmp_path / "model.safetensors")
    again = hm.load(tmp_path / "model.safetensors")
    assert isinstance(again, hm.DBM)
    assert again.config() == model.config()
    state, other = model.state_dict(), again.state_dict()
    assert {k: v.tolist() for k, v in state.items() if k != "base_rates"} == {
        k: v.tolist() for k, v in other.items() if k != "base_rates"
    }
    assert hm.log_partition(again, "exact").value == hm.log_partition(model, "exact").value
    assert torch.equal(hm.sample(again, 10, steps=3), hm.sample(model, 10, steps=3))


@pytest.mark.parametrize("optimizer", ["sgd", "AdamW"])
def test_training_leaves_what_is_masked(optimizer):
    generator = np.random.default_rng(0)
    given = [generator.random((6, 5)) < 0.7, generator.random((5, 4)) < 0.7]
    model = hm.DBM([6, 5, 4], masks=given)
    hm.fit(model, bits(), hm.VariationalPCD(chains=10), epochs=3, optimizer=optimizer)
    for weight, mask in zip(model.weights, given, strict=True):
        assert torch.equal(weight != 0, torch.from_numpy(mask))


def test_rows_are_encoded_and_made_again_by_mean_field(model):
    rows = some_rows(model)
    below = model.layers[0]
    values = model.visible.values(rows)
    for v in (values, rows, values[:, : below.size], rows[:, : below.width]):
        q = mean_field(model, model.states(v))
        top = model.encode(v)
        assert top.shape == (6, model.layers[-1].width)
        assert torch.equal(top, q.means[f"hidden{model.depth}"])
        again = model.reconstruct(v)
        assert again.shape == (6, below.width)
        field = below.bias + q.means["hidden1"] @ model.weights[0].T
        torch.testing.assert_close(again, below.mean(field))
    if model.label is not None:
        assert not torch.equal(model.encode(values), model.encode(values[:, : below.size]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hm.DBM([6]), r"layers: got \[6\], expected at least two layers"),
        (lambda: hm.DBM([]), r"layers: got \[\], expected at least two layers"),
        (lambda: hm.DBM([6, 0]), "hidden 1: got 0, expected a positive number"),
        (lambda: hm.DBM([hm.ReLU(3), 2]), "visible: got ReLU.*, expected units that can model data"),
        (lambda: hm.DBM([hm.Gaussian(3), hm.Gaussian(2), 2]), "^layers 0 and 1: .*discrete units above"),
        (lambda: hm.DBM([3, hm.Gaussian(2), hm.ReLU(2)]), "^layers 1 and 2: .*discrete units above"),
        (lambda: hm.DBM([3, 2, hm.Gaussian(2, learn_precision=True)]), "^layers 1 and 2: .*fixed precision"),
        (lambda: hm.DBM([4, 3, 2], masks=[None]), "masks: got 1, expected 2, one for each pair of layers"),
        (lambda: hm.DBM([4, 3, 2], masks=[None, np.ones((4, 3))]), r"masks\[1\]: got \(4, 3\), .*\(3, 2\)"),
        (lambda: hm.DBM([4, 3], classes=1), "classes: got 1, expected at least two classes, or None"),
        (lambda: hm.DBM([4, 3], classes=True), "classes: got True"),
        (lambda: hm.DBM([4, 10**7, 10**7]), "GiB of memory are needed"),
        (
            lambda: mean_field(hm.DBM([4, 3, 2]), {"visible": torch.ones(1, 4)}, damping=1.0),
            "damping: got 1.0",
        ),
        (lambda: hm.VariationalPCD(damping=1.0), "damping"),
        (lambda: hm.VariationalPCD(unsettled="ignore"), "unsettled"),
        (lambda: hm.fit(hm.DBM([6, 4, 3]), bits(), hm.VariationalPCD(dropout=0.5)), "dropout: got 0.5"),
    ],
)
def test_mistakes_are_named(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize("layers", [6, "66", [6, None], [6, True], None])
def test_layers_that_are_none_are_named(layers):
    with pytest.raises(ArgumentTypeError, match=r"^(layers|hidden 1): got "):
        hm.DBM(layers)


LABELLED_ROWS = torch.cat((bits(), torch.arange(40)[:, None] % 3), 1)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (torch.full((2, 7), 3), "got 3 at row 0, column 0"),
        (LABELLED_ROWS + torch.tensor([0] * 6 + [1]), "got 3 at row 2, column 6, expected .*code"),
        (torch.zeros(2, 5), r"got shape \(2, 5\), expected \(rows, 7\)"),
        (torch.zeros(2, 8), r"got shape \(2, 8\), expected \(rows, 7\)"),
        (torch.zeros(6), r"got shape \(6,\), expected \(rows, 7\)"),
        (torch.zeros(2, 9), r"got \[0\.0, 0\.0, 0\.0\] at row 0, unit 6"),
    ],
)
def test_rows_that_are_no_data_are_refused(rows, message):
    model = hm.DBM([6, 4, 3], classes=3)
    doors = {"v": (model.encode, model.reconstruct, model.free_energy)}
    doors["data"] = (lambda x: hm.log_likelihood(model, x), lambda x: hm.fit(model, x, hm.VariationalPCD()))
    for name, opened in doors.items():
        for door in opened:
            with pytest.raises(DataError, match=f"^{name}: {message}"):
                door(rows)


def test_rows_that_lack_values_are_not_for_machines_whose_layers_depend_on_each_other():
    model, rows = hm.DBM([6, 4, 3], classes=3), torch.full((2, 7), torch.nan)
    for door in (model.encode, model.free_energy, lambda x: hm.log_likelihood(model, x)):
        with pytest.raises(DataError, match=r"^(v|data): got nan at row 0, column 0"):
            door(rows)
    with pytest.raises(
        ArgumentError, match=r"^rule: got 'variational-pcd', expected one that integrates over"
    ):
        hm.fit(model, rows, hm.VariationalPCD())


def test_a_label_that_a_rule_needs_is_missed():
    for rule in (hm.VariationalPCD(), hm.PCD(), hm.ExactLikelihood()):
        model = hm.DBM([6, 4, 3], classes=3)
        with pytest.raises(DataError, match=r"^data: got shape \(40, 6\), expected \(rows, 7\)"):
            hm.fit(model, bits(), rule)
        with pytest.raises(DataError, match=r"^validation: got shape \(40, 6\), expected \(rows, 7\)"):
            hm.fit(model, LABELLED_ROWS, rule, validation=bits())
        assert model.base_rates.isnan().all()


def test_what_is_held_or_begun_with_is_checked():
    model = hm.DBM([6, 4, 3], classes=3)
    free = [torch.nan] * 6
    with pytest.raises(DataError, match=r"^clamp: got 3 at row 0, column 6"):
        hm.sample(model, 2, clamp=torch.tensor([*free, 3]))
    with pytest.raises(DataError, match=r"^clamp: got shape \(6,\)|^clamp: got shape \(2, 6\)"):
        hm.sample(model, 2, clamp=torch.tensor(free))
    with pytest.raises(DataError, match=r"^start: got shape \(2, 6\), expected \(rows, 7\)"):
        hm.sample(model, 2, start=torch.zeros(2, 6))


def test_a_labelled_row_is_not_taken_for_the_statistics_of_one_without():
    """One unit of two states has as many columns more as a label has."""
    model = hm.DBM([hm.Mixed(hm.Bernoulli(3), hm.Categorical(1, 2)), 3], classes=2, seed=1)
    rows = torch.tensor(list(product((0.0, 1.0), repeat=5)))
    z = hm.log_partition(model, "exact")
    each = [hm.log_likelihood(model, row[None], log_partition=z).mean for row in rows]
    assert np.exp(each).sum() == pytest.approx(1.0)


SUMMED = (
    "pseudolikelihood",
    "ratio-matching",
    "probability-flow",
    "noise-contrastive",
    "trajectory-tempering",
)
BESIDE = ("discriminative", "hybrid")


@pytest.mark.parametrize("name", [*SUMMED, *BESIDE])
def test_rules_that_know_no_label_of_its_own_layer_say_so(name):
    message = (
        "a layer of its own, such as 'pcd'" if name in SUMMED else "got a label that is a layer of its own"
    )
    with pytest.raises(ArgumentError, match=message):
        hm.fit(hm.DBM([6, 4], classes=3), LABELLED_ROWS, hm.RULES[name](), epochs=1)


CHAINED = ("cd", "pcd", "fast-pcd", "tempered-pcd", "exact", "variational-pcd", "multi-prediction")


@pytest.mark.parametrize("name", CHAINED)
def test_rules_learn_one_hidden_layer_below_a_label(name):
    model = hm.DBM([6, 4], classes=3)
    history = hm.fit(model, LABELLED_ROWS, hm.RULES[name](), epochs=1, batch_size=10)
    assert history.records[-1]["weight/update"] > 0


def test_components_are_not_for_a_label_that_is_a_layer():
    model = hm.DBM([6, 4, 3], classes=3)
    with pytest.raises(
        ArgumentError, match="init: got 'pca', expected 'base-rates', as the model has its label"
    ):
        hm.fit(model, LABELLED_ROWS, hm.PCD(), epochs=1, init="pca")


@pytest.mark.parametrize("family", [hm.DBM, hm.DBN])
def test_masks_that_are_no_list_are_named(family):
    with pytest.raises(ArgumentTypeError, match="masks: got 3, expected a list"):
        family([4, 3, 2], masks=3)
