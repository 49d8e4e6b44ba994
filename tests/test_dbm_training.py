"""Deep Boltzmann machines are pretrained, composed, tuned as a whole, and turned into classifiers."""

import pytest
import torch
from _checks import equal_batch, nothing
from _models import configurations, unit

import harmonium as hm
from harmonium import Stream

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
