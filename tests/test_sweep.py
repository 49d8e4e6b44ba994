"""Sweeps over coupled units against small models, enumerated in NumPy from the definition of the energy."""

from itertools import product

import numpy as np
import pytest
import torch
from _checks import check_frequencies
from _models import STATES, SUPPORT, number

from harmonium import Stream, kernels
from harmonium.kernels import eager as reference
from harmonium.kernels.philox import Draw, bits, uniform

KINDS = pytest.mark.parametrize("kind", ["bernoulli", "spin", "categorical"])
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
WAYS = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
DRAW = Draw(0x0123456789ABCDEF, 0xFEDCBA9876543210, 17)
TEMPERED = (0.3, 1.0, 1.6)


def couplings(kind, units, size, seed=0):
    """Return symmetric couplings between the columns of different units, float64."""
    states = STATES if kind == "categorical" else 1
    shape = (units * states, units * states)
    j = np.triu(size * np.random.default_rng([seed, units, states]).normal(size=shape))
    unit = np.arange(units * states) // states
    return torch.from_numpy((j + j.T) * (unit[:, None] != unit))


class Small:
    """A fully visible model of a few units, p(x) ~ exp(b x + x J x / 2), and its one-unit kernels.

    Arguments:
        kind: Of the units.
        beta: The inverse temperature.
        fixed: The values of some units by number; the others are free.
    """

    def __init__(self, kind, beta=1.0, fixed=None):
        self.kind, self.units = kind, 3 if kind == "categorical" else 4
        self.columns = STATES if kind == "categorical" else 1
        self.lateral = couplings(kind, self.units, 0.6 if kind == "spin" else 1.2)
        self.bias = torch.linspace(-0.6, 0.8, self.units * self.columns, dtype=torch.float64)
        rows = product(SUPPORT[kind], repeat=self.units)
        self.states = np.array([np.concatenate(row) for row in rows])
        field = self.bias.numpy() + 0.5 * self.states @ self.lateral.numpy()
        self.p = np.exp(beta * (self.states * field).sum(1))
        self.fixed = fixed or {}
        for unit, value in self.fixed.items():
            self.p[(self.block(unit) != value).any(1)] = 0
        self.p /= self.p.sum()

    def block(self, unit):
        """Return a unit's columns of all states."""
        return self.states[:, unit * self.columns : (unit + 1) * self.columns]

    def kernel(self, unit):
        """Return the probabilities that drawing one unit leads from one state (row) to another."""
        own = np.arange(self.states.shape[1]) // self.columns == unit
        others = self.states[:, ~own]
        table = (others[:, None] == others).all(2) * self.p
        return table / table.sum(1, keepdims=True)

    def transition(self, reverse=False):
        """Return the same for a sweep."""
        kernels = [self.kernel(unit) for unit in range(self.units)]
        return np.linalg.multi_dot(kernels[::-1] if reverse else kernels)

    def sample(self, n, seed=0):
        """Return the numbers of ``n`` independent states."""
        return np.random.default_rng(seed).choice(len(self.p), n, p=self.p)

    def run(self, index, stream, steps=1, dtype=torch.float32, beta=None, held=None, reverse=False):
        """Take states given by their numbers through sweeps, and return the numbers of the last ones."""
        x = torch.from_numpy(self.states[index]).to(dtype)
        lateral, bias = self.lateral.to(dtype), self.bias.to(dtype)
        options = {"states": self.columns, "scale": beta, "held": held, "reverse": reverse}
        for _ in range(steps):
            field = (bias + x @ lateral) * (1 if beta is None else beta[:, None])
            kernels.sweep(field, x, lateral, stream.draw(), self.kind, **options)
        return number(x, self.states)


# --- the distribution ---------------------------------------------------------------------------


def check_no_drift(kind, steps, reverse=False, dtype=torch.float64, n=6000):
    """Check that states which start exactly in their distribution are still in it after some sweeps."""
    model = Small(kind)
    end = model.run(model.sample(n), Stream(1, "drift"), steps, dtype, reverse=reverse)
    check_frequencies(end, model.p)


def check_tempered(kind, steps, reverse=False, dtype=torch.float64, n=6000):
    """Check the same where each third of the rows has a temperature of its own."""
    models = [Small(kind, beta) for beta in TEMPERED]
    start = np.concatenate([model.sample(n, i) for i, model in enumerate(models)])
    betas = torch.tensor(TEMPERED, dtype=dtype).repeat_interleave(n)
    end = models[0].run(start, Stream(2, "tempered"), steps, dtype, betas, reverse=reverse)
    for model, part in zip(models, np.split(end, len(TEMPERED)), strict=True):
        check_frequencies(part, model.p)


def check_held(kind, steps, reverse=False, dtype=torch.float64, n=6000):
    """Check the conditional distribution where some rows hold two of their units, and others one."""
    low, high = SUPPORT[kind][0], SUPPORT[kind][-1]
    models = [Small(kind, fixed=fixed) for fixed in ({0: high, 2: low}, {1: low})]
    start = np.concatenate([model.sample(n, i) for i, model in enumerate(models)])
    held = torch.zeros(2 * n, models[0].units, dtype=torch.bool)
    held[:n, [0, 2]] = held[n:, 1] = True
    end = models[0].run(start, Stream(3, "held"), steps, dtype, held=held, reverse=reverse)
    for model, part in zip(models, np.split(end, 2), strict=True):
        check_frequencies(part, model.p)


def check_transition(kind, reverse=False, dtype=torch.float64, n=3000):
    """Check where a sweep leads from each state, against the product of the one-unit kernels."""
    model = Small(kind)
    start = np.repeat(np.arange(len(model.p)), n)
    end = model.run(start, Stream(4, "transition"), dtype=dtype, reverse=reverse)
    for row, law in zip(np.split(end, len(model.p)), model.transition(reverse), strict=True):
        check_frequencies(row, law)


def check_time_reversal(kind, n=60_000):
    """Check that a sweep and what led to a reverse one have one joint law, p(x) T(x, y)."""
    model = Small(kind)
    joint = (model.p[:, None] * model.transition()).ravel()
    for reverse in (False, True):
        start = model.sample(n)
        end = model.run(start, Stream(5, "reversal"), reverse=reverse)
        pair = (end, start) if reverse else (start, end)
        check_frequencies(pair[0] * len(model.p) + pair[1], joint)


@KINDS
@DTYPES
@WAYS
@pytest.mark.parametrize("check", [check_no_drift, check_tempered, check_held])
@pytest.mark.parametrize("steps", [1, 5])
def test_sweeps_do_not_drift(check, kind, steps, reverse, dtype, path):
    check(kind, steps, reverse, dtype)


@KINDS
@WAYS
def test_transition_is_the_product_of_one_unit_kernels(kind, reverse, path):
    check_transition(kind, reverse)


@KINDS
def test_reverse_sweep_is_the_time_reversal(kind, path):
    """For the enumerated kernels to rounding, and for those that are run within their error."""
    model = Small(kind)
    forward, backward = model.transition(), model.transition(reverse=True)
    np.testing.assert_allclose(model.p[:, None] * forward, (model.p[:, None] * backward).T, rtol=1e-12)
    assert 0.5 * (model.p[:, None] * np.abs(forward - backward)).sum() > 0.1
    check_time_reversal(kind)


# --- faults -------------------------------------------------------------------------------------


def stale_fields(field, x, lateral, draw, kind, **options):
    """Every unit is drawn in the field that was there before the sweep."""
    reference.sweep(field, x, torch.zeros_like(lateral), draw, kind, **options)


def one_temperature(field, x, lateral, draw, kind, **options):
    """Fields are tempered, but not what changes of units add to them."""
    reference.sweep(field, x, lateral, draw, kind, **options | {"scale": None})


def one_order(field, x, lateral, draw, kind, **options):
    """Units are visited first to last, whatever is asked for."""
    reference.sweep(field, x, lateral, draw, kind, **options | {"reverse": False})


def none_held(field, x, lateral, draw, kind, **options):
    """Units that are held are drawn all the same."""
    reference.sweep(field, x, lateral, draw, kind, **options | {"held": None})


FAULTS = [
    (stale_fields, lambda kind: check_no_drift(kind, 1)),
    (stale_fields, lambda kind: check_no_drift(kind, 16)),
    (stale_fields, check_transition),
    (one_temperature, lambda kind: check_tempered(kind, 4)),
    (one_order, lambda kind: check_transition(kind, reverse=True)),
    (one_order, check_time_reversal),
    (none_held, lambda kind: check_held(kind, 1)),
]


@KINDS
@pytest.mark.parametrize(("fault", "check"), FAULTS)
def test_faults_turn_red(kind, fault, check, monkeypatch):
    monkeypatch.setattr(kernels, "sweep", fault)
    with pytest.raises(AssertionError, match=r"variation|chi-square|probability zero"):
        check(kind)


# --- fields, bits and paths ---------------------------------------------------------------------


def problem(kind, rows, units, dtype, size=0.4):
    """Return fields, states, couplings and the options of a sweep with temperatures and held units."""
    lateral = couplings(kind, units, size).to(dtype)
    stream, columns = Stream(6, "problem"), len(lateral) // units
    x = torch.empty(rows, len(lateral), dtype=dtype)
    external = stream.normal(rows, len(lateral), dtype)
    if kind == "categorical":
        kernels.categorical(external, stream.draw(), columns, x)
    else:
        getattr(kernels, kind)(external, stream.draw(), x)
    scale = torch.linspace(0.5, 1.5, rows, dtype=dtype)
    held = stream.uniform(rows, units) < 0.2
    options = {"states": columns, "scale": scale, "held": held}
    return external, scale[:, None] * (external + x @ lateral), x, lateral, options


def swept(kind, field, x, lateral, draw=DRAW, module=kernels, **options):
    """Return the fields and the states after a sweep, in memory of their own."""
    field, x = field.clone(), x.clone()
    module.sweep(field, x, lateral, draw, kind, **options)
    return field, x


def rows_of(options, part):
    """Return the options of some of the rows."""
    return options | {name: options[name][part].clone() for name in ("scale", "held")}


def by_definition(kind, field, x, lateral, scale, held, reverse, states):
    """Return the states after a sweep in NumPy's float64, and how close each row was to another one.

    That is the least distance of a uniform number to a boundary of the cumulative distribution.
    """
    field, x, lateral, scale = (a.double().numpy().copy() for a in (field, x, lateral, scale))
    support = np.array(SUPPORT[kind][::-1] if kind != "categorical" else SUPPORT[kind])
    units = held.shape[1]
    u = uniform(bits(DRAW, len(x), units), torch.float64).numpy()
    closest = np.ones(len(x))
    for i in range(units)[::-1] if reverse else range(units):
        own = slice(i * states, (i + 1) * states)
        log_p = field[:, own] @ support.T
        p = np.exp(log_p - log_p.max(1, keepdims=True))
        below = (p / p.sum(1, keepdims=True)).cumsum(1)[:, :-1]
        new = support[(below <= u[:, i, None]).sum(1)]
        free = ~held[:, i].numpy()
        closest[free] = np.minimum(closest, np.abs(below - u[:, i, None]).min(1))[free]
        step = np.where(free[:, None], new - x[:, own], 0)
        x[:, own] += step
        field += scale[:, None] * (step @ lateral[own])
    return torch.from_numpy(x), torch.from_numpy(closest)


@KINDS
@DTYPES
@WAYS
@pytest.mark.parametrize("units", [1, 7, 45])
def test_fused_equals_eager(kind, dtype, reverse, units):
    """Bit for bit, and so do the fields, except in rows where a uniform number is next to a probability."""
    _, field, x, lateral, options = problem(kind, 203, units, dtype)
    options["reverse"] = reverse
    expected, closest = by_definition(kind, field, x, lateral, **options)
    sure = closest > 1e-5
    assert sure.double().mean() > 0.95
    assert units == 1 or (expected != x).double().mean() > 0.1
    fused = swept(kind, field, x, lateral, **options)
    plain = swept(kind, field, x, lateral, module=reference, **options)
    for ours, theirs in zip(fused, plain, strict=True):
        assert torch.equal(ours[sure], theirs[sure])
    assert torch.equal(fused[1][sure].double(), expected[sure])


@KINDS
@DTYPES
@WAYS
def test_fields_are_kept_up_to_date(kind, dtype, reverse, path):
    """After several sweeps they are what the states make of them, and held units have not moved."""
    external, field, x, lateral, options = problem(kind, 100, 40, dtype)
    before, stream = x.clone(), Stream(7)
    for _ in range(3):
        kernels.sweep(field, x, lateral, stream.draw(), kind, reverse=reverse, **options)
    exact = options["scale"][:, None].double() * (external.double() + x.double() @ lateral.double())
    tolerance = 2e-5 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(field.double(), exact, rtol=tolerance, atol=tolerance)
    held = options["held"].repeat_interleave(options["states"], 1)
    assert torch.equal(x[held], before[held])
    assert (x != before)[~held].double().mean() > 0.1


@KINDS
@DTYPES
def test_without_options_nothing_is_held_or_tempered(kind, dtype, path):
    _, field, x, lateral, options = problem(kind, 60, 20, dtype)
    plain = swept(kind, field, x, lateral, states=options["states"])
    ones, none = torch.ones_like(options["scale"]), torch.zeros_like(options["held"])
    full = swept(kind, field, x, lateral, states=options["states"], scale=ones, held=none)
    assert torch.equal(plain[0], full[0])
    assert torch.equal(plain[1], full[1])


@KINDS
@DTYPES
@WAYS
def test_units_without_couplings_are_drawn_as_independent_ones(kind, dtype, reverse, path):
    """Without couplings a sweep has the bits of the kernel that draws all units at once."""
    _, field, x, lateral, options = problem(kind, 203, 45, dtype)
    states, together = options["states"], torch.empty_like(x)
    if kind == "categorical":
        kernels.categorical(field, DRAW, states, together)
    else:
        getattr(kernels, kind)(field, DRAW, together)
    same, one_by_one = swept(kind, field, x, 0 * lateral, states=states, reverse=reverse)
    assert torch.equal(one_by_one, together)
    assert torch.equal(same, field)


@KINDS
@WAYS
def test_one_and_two_threads_give_the_same_bits(kind, reverse, threads):
    """In float32 only: to compile a parallel kernel takes seconds, and its text is that of float64."""
    _, field, x, lateral, options = problem(kind, 257, 66, torch.float32)
    results = []
    for n in (1, 2):
        threads(n)
        results.append(swept(kind, field, x, lateral, reverse=reverse, **options))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@KINDS
@DTYPES
@pytest.mark.parametrize("at", [1, 128, 250])
def test_whole_and_split_batches_give_the_same_bits(kind, dtype, at, path):
    _, field, x, lateral, options = problem(kind, 257, 66, dtype)
    whole = swept(kind, field, x, lateral, **options)
    parts = []
    for part in (slice(0, at), slice(at, 257)):
        draw = DRAW._replace(row=DRAW.row + part.start)
        parts.append(swept(kind, field[part], x[part], lateral, draw, **rows_of(options, part)))
    for i in range(2):
        assert torch.equal(torch.cat([part[i] for part in parts]), whole[i])


@KINDS
def test_no_rows_are_no_work(kind, path):
    _, field, x, lateral, options = problem(kind, 3, 4, torch.float32)
    empty = slice(0, 0)
    field, x = swept(kind, field[empty], x[empty], lateral, **rows_of(options, empty))
    assert field.shape == x.shape == (0, len(lateral))
