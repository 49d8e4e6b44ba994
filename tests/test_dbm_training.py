"""Deep Boltzmann machines are pretrained as a stack of RBMs, composed, and trained as a whole."""

import copy
from functools import partial
from itertools import pairwise

import pytest
import torch
from _checks import equal_batch, nothing
from _models import configurations, unit
from _runs import bits, equal, same

import harmonium as hm
from harmonium import Stream
from harmonium.errors import ArgumentError, ArgumentTypeError, DataError, FileError
from harmonium.training import Options
from harmonium.training._lifted import LayerData, open_data

# --- a layer that is there twice ----------------------------------------------------------------


def doubled(kinds, layer, sizes=(2, 2), seed=0, **options):
    """Return a small machine with two copies of a layer and random parameters, float64."""
    model = hm.RBM(unit(kinds[0], sizes[0]), unit(kinds[1], sizes[1]), doubled=layer, **options).double()
    return shaken(model, seed)


def shaken(model, seed=0, scale=0.7):
    """Give a model random parameters."""
    with torch.no_grad():
        for number, p in enumerate(model.parameters()):
            if p.requires_grad:
                p.copy_(scale * Stream(seed, f"shaken {number}").normal(1, p.numel()).view(p.shape))
    model.project()
    return model


def states_of(*units):
    """Return the statistics of all joint states of some discrete layers, each of shape (states, width)."""
    every = [torch.from_numpy(configurations(layer)) for layer in units]
    grid = torch.cartesian_prod(*(torch.arange(len(x)) for x in every)).view(-1, len(every))
    return [x[grid[:, number]] for number, x in enumerate(every)]


def log_f(model, v, w, h, g, parameters):
    """Return -E with lower copies v, w and upper copies h, g, of which one counts where there is one."""
    b, c, weight = (parameters[name] for name in ("visible.bias", "hidden.bias", "weight"))
    below = v + w if model.doubled == "visible" else v
    above = h + g if model.doubled == "hidden" else h
    return below @ b + above @ c + ((below @ weight) * above).sum(-1)


def loss_of(model, rows, parameters):
    """Return the mean of -log p of rows, both copies the same where there are two, by enumeration."""
    v, w, h, g = states_of(model.visible, model.visible, model.hidden, model.hidden)
    if model.doubled == "visible":
        keep = (g == g[0]).all(1)
        h, g = h[keep], g[keep]
        v, w = v[keep], w[keep]
    else:
        keep = (w == w[0]).all(1)
        v, w, h, g = v[keep], w[keep], h[keep], g[keep]
    total = torch.logsumexp(log_f(model, v, w, h, g, parameters), 0)
    logs = []
    for row in rows:
        mine = (v == row).all(1) & ((w == row).all(1) if model.doubled == "visible" else True)
        logs.append(torch.logsumexp(log_f(model, v[mine], w[mine], h[mine], g[mine], parameters), 0))
    return total - torch.stack(logs).mean()


KINDS = [("bernoulli", "bernoulli"), ("spin", "categorical"), ("categorical", "bernoulli")]


@pytest.mark.parametrize("layer", ["visible", "hidden"])
@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
@pytest.mark.parametrize("centred", [False, True])
def test_the_gradient_of_a_tied_machine_is_that_of_its_likelihood(kinds, layer, centred):
    model = doubled(kinds, layer)
    rows = states_of(model.visible)[0][[0, 1, 1]]
    own = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    expected = dict(zip(own, torch.autograd.grad(loss_of(model, rows, own), [*own.values()]), strict=True))
    rule = hm.ExactLikelihood(centred=centred)
    state, _ = rule.update(model, equal_batch(rows), rule.init(model, Stream(0)), Stream(0), nothing)
    if centred:
        copies = {"visible": 1, "hidden": 1, layer: 2}
        mu, lam = state["offset.visible"], state["offset.hidden"]

        def plain(p):
            b = p["visible.bias"] - copies["hidden"] * p["weight"] @ lam
            c = p["hidden.bias"] - copies["visible"] * mu @ p["weight"]
            return {"weight": p["weight"], "visible.bias": b, "hidden.bias": c}

        _, back = torch.func.vjp(plain, {name: p.detach() for name, p in own.items()})
        expected = plain(back(expected)[0])
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("layer", ["visible", "hidden"])
def test_a_tied_machine_is_normalised_over_its_copies(layer):
    model = doubled(KINDS[0], layer)
    own = dict(model.named_parameters())
    rows = states_of(model.visible)[0]
    likelihood = hm.log_likelihood(model, rows, method="exact").mean
    assert likelihood == pytest.approx(-loss_of(model, rows, own).item(), abs=1e-6)


def test_rules_that_know_of_no_copies_are_refused():
    with pytest.raises(hm.errors.ArgumentError, match="'cd', 'pcd'"):
        hm.fit(hm.RBM(3, 2, doubled="visible"), torch.zeros(4, 3), hm.Pseudolikelihood(), epochs=1)


@pytest.mark.parametrize("layer", ["visible", "hidden"])
def test_a_tied_machine_comes_back_from_its_file(tmp_path, layer):
    model = doubled(KINDS[1], layer)
    hm.save(model, tmp_path / "m.safetensors")
    again = hm.load(tmp_path / "m.safetensors")
    rows = states_of(model.visible)[0]
    assert again.blocks() == model.blocks()
    torch.testing.assert_close(again.free_energy(model.visible.values(rows)), model.free_energy(rows))


@pytest.mark.parametrize("layer", ["visible", "hidden"])
def test_a_layer_is_felt_by_both_copies(layer):
    """The free energy in closed form, and the fields that Gibbs sampling draws from."""
    model = doubled(KINDS[0], layer, (3, 2))
    v, h = states_of(model.visible)[0], states_of(model.hidden)[0]
    b, c, weight = model.visible.bias, model.hidden.bias, model.weight
    below, above = (2, 1) if layer == "visible" else (1, 2)
    with torch.no_grad():
        expected = -below * v @ b - above * torch.nn.functional.softplus(c + below * v @ weight).sum(1)
        torch.testing.assert_close(model.free_energy(v), expected)
        up, down = model.field("hidden", model.observed(v)), model.field("visible", both(model, h))
        torch.testing.assert_close(up, c + below * v @ weight)
        torch.testing.assert_close(down, b + above * h @ weight.T)
        torch.testing.assert_close(model.encode(v), torch.sigmoid(up))


def both(model, h):
    """Return the states of all hidden blocks, the same for copies."""
    return dict.fromkeys(model.hidden_blocks(), h)


def test_two_hidden_copies_classify_as_enumeration_says():
    model = hm.RBM(hm.Mixed(hm.Bernoulli(3), hm.Categorical(1, 3)), 2, doubled="hidden", seed=1).double()
    shaken(model)
    v = states_of(hm.Bernoulli(3).double())[0]
    codes = torch.eye(3, dtype=torch.float64)
    joint = torch.stack([model.log_sum({"visible": torch.cat((v, k.expand(8, -1)), 1)}) for k in codes], 1)
    torch.testing.assert_close(hm.predict_proba(model, v).double(), torch.softmax(joint, 1))
    with pytest.raises(ArgumentError, match="visible layer that is there twice"):
        hm.predict_proba(hm.RBM(hm.Mixed(hm.Bernoulli(3), hm.Categorical(1, 3)), 2, doubled="visible"), v)


# --- the stack ----------------------------------------------------------------------------------

MASKS = [
    (torch.arange(6)[:, None] + torch.arange(5)) % 3 != 0,
    (torch.arange(5)[:, None] + torch.arange(6)) % 3 != 1,
]
MACHINES = {
    "two": ([6, 5, 6], {}),
    "one": ([6, 4], {}),
    "one labelled": ([hm.Gaussian(6, learn_precision=True), 4], {"classes": 3}),
    "three": ([hm.Categorical(6, 3), 5, hm.Spin(4), 3], {}),
    "four labelled": ([hm.Spin(6), 4, hm.Categorical(3, 2), 4, 3], {"classes": 3}),
    "real": ([hm.Mixed(hm.Bernoulli(4), hm.Gaussian(2, learn_precision=True)), 5, hm.Gaussian(4, 2.0)], {}),
    "masks": ([6, 5, 6], {"masks": MASKS}),
    "rectified": ([6, hm.ReLU(4), 5], {}),
}


def machine(name, seed=0):
    """Return a machine with random parameters, float64."""
    layers, options = MACHINES[name]
    return shaken(hm.DBM(layers, **options).double(), seed)


def parameters(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_composes_from_its_own_stack(name):
    model, other = machine(name), machine(name, seed=1)
    stack = model.stack()
    kinds = [None] if model.depth == 1 else ["visible", *[None] * (model.depth - 2), "hidden"]
    assert [rbm.doubled for rbm in stack] == kinds
    other.compose(stack)
    assert equal(parameters(other), parameters(model))


@pytest.mark.parametrize("name", MACHINES)
def test_the_field_of_a_layer_is_the_mean_of_its_machines(name):
    """Where copies agree; the label's is that of a single copy."""
    model, pattern = machine(name), machine(name, seed=1)
    stack = [shaken(rbm, seed) for seed, rbm in enumerate(pattern.stack(), 2)]
    model.compose(stack)
    rows = [
        layer.sample(layer.bias.detach().repeat(7, 1), Stream(5, str(n)))
        for n, layer in enumerate(model.layers)
    ]
    code = torch.eye(3, dtype=torch.float64)[torch.arange(7) % 3]
    states = {"visible": rows[0]} | {f"hidden{n}": rows[n] for n in range(1, model.depth + 1)}
    ups = [rows[n] for n in range(model.depth)]
    if model.classes:
        states["label"], ups[-1] = code, torch.cat((ups[-1], code), 1)
    fields = [[] for _ in rows]
    with torch.no_grad():
        for n, rbm in enumerate(stack):
            fields[n].append(rbm.field("visible", both(rbm, rows[n + 1]))[:, : rows[n].shape[1]])
            fields[n + 1].append(rbm.field("hidden", rbm.observed(ups[n])))
        for n, found in enumerate(fields):
            block = f"hidden{n}" if n else "visible"
            others = {name: x for name, x in states.items() if name != block}
            torch.testing.assert_close(model.field(block, others), sum(found) / len(found))
        if model.classes:
            single = stack[-1].field("visible", {"hidden": rows[-1]})[:, -3:]
            torch.testing.assert_close(model.field("label", {f"hidden{model.depth}": rows[-1]}), single)


def test_part_of_a_stack_leaves_the_layers_above():
    model = machine("four labelled")
    before = parameters(model)
    (first,) = model.stack(1)
    assert first.doubled is None
    shaken(first, seed=3)
    model.compose([first])
    after = parameters(model)
    torch.testing.assert_close(after["weights.0"], first.weight)
    torch.testing.assert_close(after["layers.1.bias"], first.hidden.bias)
    touched = ("weights.0", "layers.0.bias", "layers.1.bias")
    kept = [name for name in before if name not in touched]
    assert equal({name: before[name] for name in kept}, {name: after[name] for name in kept})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda stack: stack[:1], ArgumentError, r"^stack\[0\].doubled: got 'visible', expected None"),
        (lambda stack: stack[::-1], ArgumentError, r"^stack\[0\].visible: got .*expected"),
        (lambda stack: [], ArgumentError, "^stack: got 0, expected a number of RBMs from 1 to 2"),
        (lambda stack: stack * 2, ArgumentError, "^stack: got 4, expected a number of RBMs from 1 to 2"),
        (lambda stack: [stack[0], 3], ArgumentTypeError, r"^stack\[1\]: got 3, expected an RBM"),
        (lambda stack: [stack[0], hm.RBM(5, 4)], ArgumentError, r"^stack\[1\].hidden: got"),
        (
            lambda stack: [stack[0], hm.RBM(5, 7)],
            ArgumentError,
            r"^stack\[1\].doubled: got None, expected 'hidden'",
        ),
    ],
)
def test_another_stack_is_refused_and_changes_nothing(change, error, message):
    model = hm.DBM([6, 5, 7], seed=1)
    before = parameters(model)
    with pytest.raises(error, match=message):
        model.compose(change(hm.DBM([6, 5, 7], seed=2).stack()))
    assert equal(parameters(model), before)


def test_a_network_takes_over_the_stack_of_another():
    model, other = hm.DBN([6, 5, 4], seed=1), shaken(hm.DBN([6, 5, 4]))
    top = model.rbms[1].weight.detach().clone()
    model.compose(other.stack(1))
    assert torch.equal(model.rbms[0].weight, other.rbms[0].weight)
    assert torch.equal(model.rbms[1].weight, top)
    with pytest.raises(ArgumentError, match=r"^stack\[1\]: got"):
        model.compose(hm.DBN([6, 5, 3]).stack())


# --- layer by layer -----------------------------------------------------------------------------

OPTIONS = {"epochs": 1, "batch_size": 16, "seed": 3, "probe": 20, "lr": 0.1}
UPDATES = 3
"""Of each stage."""


def pretrain(model=None, data=None, rule=None, **options):
    """Pretrain a small machine on small data."""
    model = hm.DBM([6, 5, 6], seed=4) if model is None else model
    rule = hm.VariationalPCD(chains=10, steps=1) if rule is None else rule
    return hm.pretrain(model, bits() if data is None else data, rule, **{**OPTIONS, **options})


def labelled():
    """Return bits whose last column is a label of three classes."""
    x = bits()
    return torch.cat((x, x[:, :1] + x[:, 2:3]), 1)


def test_stages_come_one_after_the_other(tmp_path):
    """And the last one is a fit of what the stack composes to."""
    seen, model = [], hm.DBM([6, 5, 6], seed=4)
    rules = [hm.CD(), None, hm.VariationalPCD(chains=7)]
    options = {"epochs": [2, 1, 3], "lr": [0.1, 0.2, 0.05], "schedule": "constant"}
    history = pretrain(model, rule=rules, callback=seen.append, out=tmp_path / "run", **options)
    places = [(1, 1, 0.1), (1, 2, 0.1), (2, 1, 0.2), *(("joint", epoch, 0.05) for epoch in (1, 2, 3))]
    assert [(r["layer"], r["epoch"], r["lr"]) for r in seen] == places
    assert history.records == seen
    assert (history.model is model, history.stopped, tuple(history.chains.shape)) == (True, "", (7, 6))
    names = ["config.json", "joint", "layer-1", "layer-2", "model.safetensors", "start.safetensors"]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == names
    stack = [hm.load(tmp_path / f"run/layer-{n}/model.safetensors") for n in (1, 2)]
    again = hm.DBM([6, 5, 6], seed=4)
    again.compose(stack)
    torch.testing.assert_close(again.layers[1].bias, (stack[0].hidden.bias + stack[1].visible.bias) / 2)
    assert not torch.equal(again.weights[1], model.weights[1])
    hm.fit(again, bits(), rules[2], **{**OPTIONS, "epochs": 3, "lr": 0.05, "schedule": "constant"})
    assert equal(again.state_dict(), model.state_dict())


def test_the_first_machine_learns_as_one_with_its_visible_layer_twice():
    model, alone = hm.DBM([6, 5, 7], seed=4), hm.DBM([6, 5, 7], seed=4).stack()[0]
    pretrain(model, rule=hm.PCD(chains=10), epochs=[2, 0, 0], upside_down=False)
    hm.fit(alone, bits(), hm.PCD(chains=10), **{**OPTIONS, "epochs": 2})
    assert torch.equal(model.weights[0], alone.weight)
    assert torch.equal(model.layers[0].bias, alone.visible.bias)


def test_the_second_machine_sees_the_first_one_with_its_input_twice():
    model = shaken(hm.DBM([6, 5, 4]), scale=1.5)
    stack, rows = model.stack(), bits()
    source = open_data(stack[1], LayerData(model, stack, 1, rows), Stream(0), Options()).source
    shown = torch.zeros(500, 40, 5)
    for epoch in range(500):
        for batch in source.batches(epoch):
            shown[epoch, batch.rows] = batch.values
    assert set(shown.unique().tolist()) == {0, 1}
    expected = torch.sigmoid(model.layers[1].bias + 2 * rows.float() @ model.weights[0]).detach()
    error = (expected * (1 - expected) / 500).sqrt() + 1e-4
    assert bool(((shown.mean(0) - expected).abs() < 4.5 * error).all())


def test_upside_down_the_second_machine_models_what_the_first_one_did():
    """Copies and all; and composed they give h1 the first one's posterior where the top layer is as v is."""
    model = hm.DBM([6, 4, 6], seed=4)
    pretrain(model, rule=hm.PCD(chains=10), epochs=[4, 0, 0], lr=0.3)
    first, second = model.stack()
    h, v = first.hidden.configurations(0, 16).float(), bits().float()
    with torch.no_grad():
        torch.testing.assert_close(second.log_sum({"visible": h}), first.log_sum({"hidden": h}))
        both_ways = model.field("hidden1", {"visible": v, "hidden2": v})
        torch.testing.assert_close(both_ways, first.field("hidden", first.observed(v)))
        alone = model.field("hidden1", {"visible": v})
        assert float((both_ways - alone).abs().max()) > 0.05


def test_weights_make_up_for_copies_where_the_next_machine_has_others():
    model = hm.DBM([6, 5, 6, 5], seed=4)
    pretrain(model, rule=hm.PCD(chains=10), epochs=[2, 0, 0, 0])
    for lower, upper in pairwise(model.weights):
        torch.testing.assert_close(upper, lower.T)


def test_the_first_machine_alone_is_an_ordinary_one():
    model, fresh = hm.DBM([6, 5, 4], seed=4), hm.DBM([6, 5, 4], seed=4)
    alone = fresh.stack(1)[0]
    history = pretrain(model, rule=hm.PCD(chains=10), layers=1, epochs=[2, 0])
    hm.fit(alone, bits(), hm.PCD(chains=10), **{**OPTIONS, "epochs": 2})
    assert [r["layer"] for r in history.records] == [1, 1]
    assert torch.equal(model.weights[0], alone.weight)
    assert torch.equal(model.layers[1].bias, alone.hidden.bias)
    assert torch.equal(model.weights[1], fresh.weights[1])


@pytest.mark.parametrize("name", ["three", "four labelled", "real", "masks", "one labelled", "rectified"])
@pytest.mark.parametrize("means", [False, True])
def test_any_units_and_any_depth(name, means):
    layers, options = MACHINES[name]
    model = hm.DBM(layers, **options)
    rows = labelled() if "labelled" in name else bits()
    if name == "four labelled":
        rows = torch.cat((2 * rows[:, :6].int() - 1, rows[:, 6:].int()), 1)
    before = parameters(model)
    history = pretrain(model, rows, means=means, lr=0.01)
    assert [r["layer"] for r in history.records] == [*range(1, model.depth + 1), "joint"]
    for key, p in parameters(model).items():
        assert bool(p.isfinite().all())
        assert p.ndim == 1 or not torch.equal(p, before[key])
    for number, mask in enumerate(options.get("masks", ())):
        assert not model.weights[number][~mask].any()
    assert not model.base_rates.isnan().any()


def test_layers_that_are_trained_are_not_turned_again():
    model = hm.DBM([6, 5, 6], seed=4)
    pretrain(model)
    trained = model.weights[1].detach().clone()
    pretrain(model, epochs=[1, 0, 0])
    assert torch.equal(model.weights[1], trained)


def test_frozen_parameters_stay_as_they_are():
    model = hm.DBM([6, 5, 6], seed=4)
    model.weights[0].requires_grad_(False)
    before = model.weights[0].clone()
    pretrain(model)
    assert torch.equal(model.weights[0], before)


# --- runs that were cut -------------------------------------------------------------------------


class Cut(Exception):
    """What stops a run in these tests."""


def variant(kind):
    """Return a machine, data and what else a kind of run is given."""
    if kind == "labels":
        return hm.DBM([6, 5, 6], classes=3, seed=4), labelled(), {}
    model = hm.DBM([6, 5, 6], masks=MASKS if kind == "masks" else None, seed=4)
    return model, bits(), {"rbm": {"layers": 1}, "means": {"means": True}}.get(kind, {})


@pytest.mark.parametrize(
    ("kind", "moments"),
    [("plain", (1, 3, 5, 6, 8)), ("labels", (4, 7)), ("masks", (5,)), ("rbm", (2, 3, 5)), ("means", (7,))],
)
def test_a_run_that_was_cut_in_any_stage_goes_on_bit_for_bit(tmp_path, monkeypatch, kind, moments):
    model, data, options = variant(kind)
    whole = pretrain(model, data, **options)
    update = hm.PCD.update
    for after in moments:
        done = [0]

        def cutting(self, *arguments, done=done, after=after):
            if done[0] == after:
                raise Cut
            done[0] += 1
            return update(self, *arguments)

        model, data, options = variant(kind)
        with monkeypatch.context() as patch:
            patch.setattr(hm.PCD, "update", cutting)
            with pytest.raises(Cut):
                pretrain(model, data, out=tmp_path / str(after), checkpoint_every=1e-9, **options)
        again = hm.resume(tmp_path / str(after), data, checkpoint_every=60.0)
        assert same(again, whole), after
        assert equal(
            hm.load(tmp_path / str(after) / "model.safetensors").state_dict(), whole.model.state_dict()
        )


@pytest.mark.parametrize("stage", [1, 2, "joint"])
def test_a_run_that_a_callback_stopped_is_composed_and_goes_on(tmp_path, stage):
    whole = pretrain(epochs=2)
    history = pretrain(epochs=2, out=tmp_path / "run", callback=lambda r: r["layer"] == stage)
    assert history.stopped == "by the callback"
    assert (history.chains is None) == (stage != "joint")
    first = hm.load(tmp_path / "run/layer-1/model.safetensors")
    if stage != "joint":
        torch.testing.assert_close(history.model.weights[0], first.weight)
        assert not history.model.base_rates.isnan().any()
    assert same(hm.resume(tmp_path / "run", bits()), whole)


def test_the_whole_goes_on_for_longer_and_what_it_began_with_does_not(tmp_path):
    constant = {"schedule": "constant", "averaging": 0.0}
    pretrain(out=tmp_path / "run", **constant)
    with pytest.raises(
        ArgumentError, match="expected 1 for layer 2, as the joint training has begun on what"
    ):
        hm.resume(tmp_path / "run", bits(), epochs=[1, 2, 2])
    longer = hm.resume(tmp_path / "run", bits(), epochs=[1, 1, 3])
    assert same(longer, pretrain(epochs=[1, 1, 3], **constant))


def test_the_joint_run_of_another_machine_is_refused(tmp_path):
    pretrain(out=tmp_path / "run")
    hm.fit(hm.DBM([6, 4, 6]), bits(), hm.VariationalPCD(chains=10), out=tmp_path / "other", **OPTIONS)
    (tmp_path / "run/joint").rename(tmp_path / "gone")
    (tmp_path / "other").rename(tmp_path / "run/joint")
    with pytest.raises(FileError, match="joint: its model is none of the whole"):
        hm.resume(tmp_path / "run", bits())


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"epochs": [1, 1]},
            r"^epochs: got \[1, 1\], expected .*a list of 3, one for each RBM and one for the whole$",
        ),
        ({"epochs": [1, 1, 1], "layers": 1}, r"^epochs: got .*expected one value, or a list of 2,"),
        ({"layers": 3}, "^layers: got 3, expected a number of RBMs from 1 to 2"),
        ({"layers": True}, "^layers: got True"),
        (
            {"rule": hm.Pseudolikelihood()},
            "^rule: got 'pseudolikelihood', expected one that trains a model with a layer",
        ),
        ({"rule": [None, None, hm.ScoreMatching()]}, "^rule: got 'score-matching', expected"),
        ({"init": "pca"}, r"^init: got 'pca', expected 'base-rates', as the model has a layer that is there"),
        ({"init": ["base-rates", "base-rates", "pca"]}, "^init: got .*expected 'base-rates' as the last one"),
    ],
)
def test_a_mistake_in_any_stage_comes_before_any_work(tmp_path, wrong, message):
    model = hm.DBM([6, 5, 6], seed=4)
    before = parameters(model)
    with pytest.raises(ArgumentError, match=message):
        pretrain(model, out=tmp_path / "run", **wrong)
    assert equal(parameters(model), before)
    assert not (tmp_path / "run").exists()


def test_a_label_that_is_missing_is_missed_before_any_work(tmp_path):
    model = hm.DBM([6, 5, 6], classes=3)
    with pytest.raises(DataError, match=r"^data: got shape \(40, 6\), expected \(rows, 7\)"):
        pretrain(model, bits(), out=tmp_path / "run")
    with pytest.raises(DataError, match=r"^labels: got none of the train"):
        pretrain(model, hm.datasets.from_array(bits().numpy()))
    assert not (tmp_path / "run").exists()
    rows = labelled()
    data = hm.datasets.from_array(rows[:, :6].numpy(), labels=rows[:, 6].numpy())
    one, other = copy.deepcopy(model), copy.deepcopy(model)
    assert same(pretrain(one, rows), pretrain(other, data))


def test_only_deep_networks_are_pretrained():
    with pytest.raises(ArgumentTypeError, match=r"^model: got RBM.*or a deep Boltzmann machine \(hm.DBM\)"):
        hm.pretrain(hm.RBM(6, 4), bits())


# --- couplings that learn at a pace of their own ---------------------------------------------


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("optimizer", ["sgd", "Adam", "of the user"])
def test_couplings_among_hidden_units_move_at_their_pace(optimizer, decay):
    """By whatever optimiser, and weight decay with them; all else as if nothing had been said."""
    if optimizer == "of the user":
        optimizer = partial(torch.optim.RMSprop, lr=0.01)
    moved = []
    for pace in (1.0, 0.25):
        model = hm.DBM([6, 5, 4, 3], seed=1)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        rule = hm.VariationalPCD(chains=20, centred=False, hidden_pace=pace)
        options = {"epochs": 1, "batch_size": 30, "weight_decay": decay, "averaging": 0.0, "seed": 2}
        lr = {} if callable(optimizer) else {"lr": 0.01}
        hm.fit(model, bits(30), rule, optimizer=optimizer, **lr, **options)
        moved.append({name: p.detach() - before[name] for name, p in model.named_parameters()})
    for name, step in moved[0].items():
        assert float(step.abs().sum()) > 0
        pace = 0.25 if name in ("weights.1", "weights.2") else 1.0
        torch.testing.assert_close(moved[1][name], pace * step, rtol=1e-3, atol=1e-7, msg=name)


def test_a_pace_needs_groups_of_its_own():
    def flat(groups):
        return torch.optim.SGD([p for group in groups for p in group["params"]], lr=0.01)

    rule = hm.VariationalPCD(hidden_pace=0.5)
    with pytest.raises(ArgumentError, match=r"optimizer: got .* expected one that keeps the groups apart"):
        hm.fit(hm.DBM([6, 5, 4]), bits(30), rule, optimizer=flat, epochs=1)
