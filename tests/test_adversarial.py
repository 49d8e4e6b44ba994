"""The adversarial rule: losses and penalties are those of their formulas, and the game has its value."""

import logging
import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from _checks import check_mean, equal_batch, nothing
from _runs import back_to, log, same
from scipy.special import expit, xlogy
from torch import nn

import harmonium as hm
from harmonium import Stream
from harmonium.cli._train import gathered, understand
from harmonium.errors import ArgumentError, TrainingError
from harmonium.learning import AUGMENTATIONS, PAYOFFS, Batch, augment
from harmonium.learning._slopes import between, change_squared, slope, slope_squared
from harmonium.models import GAN
from harmonium.models._networks import NETWORKS, RATE, Rows
from harmonium.training import Options, diagnose
from harmonium.training._adversarial_monitor import tells_nothing
from harmonium.training._optimiser import Average

LOSSES = tuple(PAYOFFS)
TINY = {"hidden": 5, "judges": 4, "pieces": 2, "latent": 3, "depth": 1, "dropout": 0, "input_dropout": 0}


def tiny(columns=2, **options):
    """Return a network of small perceptrons on real rows, float64."""
    settings = {"visible": hm.Gaussian(columns), **TINY, **options}
    return GAN.of("mlp", (columns,), **settings).double()


def rows(n=7, columns=2, seed=0):
    """Return real rows, float64."""
    return Stream(seed, "rows").normal(n, columns, torch.float64)


def images(n=40, side=8, seed=0):
    """Return grey images of shape (n, side * side) in which a bright square stands somewhere."""
    place = (Stream(seed, "images").uniform(n, 2) * (side - 3)).long()
    x = torch.zeros(n, side, side)
    for image, (top, left) in zip(x, place.tolist(), strict=True):
        image[top : top + 3, left : left + 3] = 1
    return x.flatten(1)


def train(model, data, rule=None, **options):
    """Train for a moment, and return the history."""
    settings = {"epochs": 2, "batch_size": 16, "probe": 20, "seed": 3, "lr": 0.01, **options}
    return hm.fit(model, data, rule or hm.Adversarial(), **settings)


# --- losses -------------------------------------------------------------------------------------


def test_losses_are_those_of_their_formulas():
    r, f = (Stream(0, name).normal(9, 1, torch.float64)[:, 0] * 2 for name in "rf")
    x, y = r.numpy(), f.numpy()
    logistic = -np.log(expit(x)) - np.log(1 - expit(y))
    expected = {
        "minimax": (logistic, np.log(1 - expit(y))),
        "nonsaturating": (logistic, -np.log(expit(y))),
        "least-squares": (((x - 1) ** 2 + y**2) / 2, (y - 1) ** 2 / 2),
        "wasserstein": (y - x, -y),
        "hinge": (np.maximum(0, 1 - x) + np.maximum(0, 1 + y), -y),
        "relativistic": (-np.log(expit(x - y)), -np.log(expit(y - x))),
    }
    assert expected.keys() == PAYOFFS.keys()
    for name, (discriminator, generator) in expected.items():
        r, f = r.detach(), f.detach()
        np.testing.assert_allclose(PAYOFFS[name].discriminator(r, f), discriminator, rtol=1e-12)
        np.testing.assert_allclose(PAYOFFS[name].generator(r, f), generator, rtol=1e-12)
        r, f = r.detach().requires_grad_(), f.detach().requires_grad_()
        gradient = torch.autograd.grad(PAYOFFS[name].generator(r, f).sum(), (r, f), allow_unused=True)
        assert (gradient[0] is not None) == PAYOFFS[name].paired


def test_the_best_discriminator_is_the_ratio_of_densities_and_its_value_that_of_the_divergence():
    """Of distributions over five states: d = log p/q, v = -log 4 + 2 JS, and -log 4 where they are equal."""
    p, q = (np.random.default_rng(seed).dirichlet(np.ones(5)) for seed in (0, 1))
    for made in (q, p):
        best = torch.from_numpy(np.log(p / made)).requires_grad_()
        data, other = torch.from_numpy(p), torch.from_numpy(made)

        def value(scores, data=data, other=other):
            losses = PAYOFFS["minimax"].discriminator
            return -(data[:, None] * other * losses(scores[:, None], scores[None])).sum()

        (slope_there,) = torch.autograd.grad(value(best), best)
        assert float(slope_there.abs().max()) < 1e-12
        middle = (p + made) / 2
        divergence = (xlogy(p, p / middle) + xlogy(made, made / middle)).sum() / 2
        assert float(value(best.detach())) == pytest.approx(-math.log(4) + 2 * divergence, abs=1e-12)
        np.testing.assert_allclose(torch.sigmoid(best.detach()), p / (p + made))
        for seed in range(5):
            other_scores = best.detach() + Stream(seed).normal(1, 5, torch.float64)[0]
            assert float(value(other_scores)) < float(value(best.detach()))
    assert float(value(best.detach())) == pytest.approx(-math.log(4), abs=1e-12)


class Cuts(nn.Module):
    """A generator of one of five states, by where a normal number falls."""

    def __init__(self, q):
        super().__init__()
        self.ends = torch.special.ndtri(torch.from_numpy(q).cumsum(0)[:-1])
        self.shift = nn.Parameter(torch.zeros(5, dtype=torch.float64))

    def forward(self, z):
        return (
            torch.eye(5, dtype=torch.float64)[torch.searchsorted(self.ends, z[:, 0].contiguous())]
            + 0 * self.shift
        )


class Table(nn.Module):
    """A discriminator with a score for each of five states."""

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(torch.as_tensor(scores))

    def forward(self, x):
        return x @ self.scores


def test_the_rule_leaves_the_best_discriminator_alone_and_no_other():
    """Its gradient there is zero on average: the score is log p_data / p_model, exactly."""
    p, q = (np.random.default_rng(seed).dirichlet(4 * np.ones(5)) for seed in (0, 1))
    states, shares = torch.eye(5, dtype=torch.float64).repeat(40, 1), torch.from_numpy(p).repeat(40) / 40
    batch = Batch(states, shares, torch.arange(200))
    for scores in (np.log(p / q), np.zeros(5), np.log(q / p)):
        model = GAN(Cuts(q), Table(scores), latent=1, shape=(5,), visible=hm.Gaussian(5))
        rule, stream, seen = hm.Adversarial(loss="minimax"), Stream(4), []
        state = rule.init(model, stream)
        for _ in range(200):
            state, _ = rule.update(model, batch, state, stream, nothing)
            seen.append(model.discriminator.scores.grad.numpy())
        expected = -p * expit(-scores) + q * expit(scores)
        check_mean(np.array(seen), expected, 4.5)
        assert np.allclose(expected, 0, atol=1e-12) == np.allclose(scores, np.log(p / q))


# --- slopes -------------------------------------------------------------------------------------


def quadratic(a, b):
    """Return the discriminator x'Ax/2 + b'x."""
    return lambda x: 0.5 * ((x.flatten(1) @ a) * x.flatten(1)).sum(1) + x.flatten(1) @ b


def test_slopes_are_those_of_a_quadratic_and_have_gradients():
    a = rows(4, 4)
    a = ((a + a.T) / 2).requires_grad_()
    b, x = rows(1, 4, 1)[0].requires_grad_(), rows(6, 4, 2).view(6, 2, 2).requires_grad_()
    scores, squares = slope_squared(quadratic(a, b), x)
    torch.testing.assert_close(scores, quadratic(a, b)(x))
    slopes = x.flatten(1) @ a + b
    torch.testing.assert_close(squares, slopes.square().sum(1))
    torch.testing.assert_close(slope(quadratic(a, b), x), slopes.norm(dim=1))
    found, expected = (torch.autograd.grad(s.sum(), (a, b)) for s in (squares, slopes.square().sum(1)))
    torch.testing.assert_close(found[1], expected[1])
    torch.testing.assert_close(found[0] + found[0].T, expected[0] + expected[0].T)


def test_gradients_of_the_exact_penalty_are_finite_differences():
    model = tiny()
    x = rows()
    weight = model.discriminator.body[1].weight

    def penalty():
        return slope_squared(model.judge, x)[1].sum()

    (gradient,) = torch.autograd.grad(penalty(), weight)
    for place in ((0, 0), (3, 1)):
        ends = []
        for step in (1e-6, -1e-6):
            with torch.no_grad():
                weight[place] += step
            ends.append(float(penalty().detach()))
            with torch.no_grad():
                weight[place] -= step
        assert float(gradient[place]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-5, abs=1e-8)


def test_a_small_random_step_estimates_the_squared_slope():
    b = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def line(x):
        return x @ b

    x = rows(20_000, 3)
    scores, found = change_squared(line, x, 0.01, Stream(5))
    assert torch.equal(scores, line(x))
    check_mean(found.numpy(), float(b @ b))


def test_rows_and_their_neighbours_are_judged_by_the_same_weights():
    """In one pass: the spectral norms of the layers move from one pass to the next."""
    model, seen = GAN.of("dcgan", (8, 8), width=4, latent=3), []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    x, _ = model.split(images(16))
    change_squared(model.judge, x, 0.01, Stream(0))
    assert seen == [32]


def test_points_between_are_uniform_on_the_line():
    x, made = torch.zeros(5000, 1, 2, 2), torch.ones(5000, 1, 2, 2)
    points = between(x, made, Stream(0)).flatten(1)
    assert bool((points == points[:, :1]).all())
    check_mean(np.stack((points[:, 0], points[:, 0] ** 2), 1), [1 / 2, 1 / 3])


def naive(rule, model, x, weights, stream):
    """Return both players' gradients by their definition, each half of the rows by itself."""
    made = model.make(model.latents(len(x), stream))
    x, fixed = x.clone().requires_grad_(), made.detach().clone().requires_grad_()
    r, f = model.judge(x), model.judge(fixed)
    loss = (weights * PAYOFFS[rule.loss].discriminator(r, f)).sum()
    usual = 1.0 if rule.loss == "relativistic" else 0.0
    for gamma, scores, at in ((rule.r1, r, x), (rule.r2, f, fixed)):
        gamma = usual if gamma is None else gamma
        (gradient,) = torch.autograd.grad(scores.sum(), at, create_graph=True)
        loss = loss + gamma / 2 * (weights * gradient.square().sum(1)).sum()
    wish = (
        (10.0 if rule.loss == "wasserstein" else 0.0)
        if rule.gradient_penalty is None
        else rule.gradient_penalty
    )
    if wish:
        u = stream.uniform(len(x), 1, torch.float64)
        point = (u * x.detach() + (1 - u) * fixed.detach()).requires_grad_()
        (gradient,) = torch.autograd.grad(model.judge(point).sum(), point, create_graph=True)
        loss = loss + wish * (weights * (gradient.norm(dim=1) - 1) ** 2).sum()
    first = torch.autograd.grad(loss, list(model.discriminator.parameters()), allow_unused=True)
    other = (weights * PAYOFFS[rule.loss].generator(model.judge(x), model.judge(made))).sum()
    return first, torch.autograd.grad(other, list(model.generator.parameters()))


@pytest.mark.parametrize(
    "options", [{}, {"r1": 0.7, "r2": 0.3}, {"r1": 2.0, "r2": 0.0}, {"gradient_penalty": 3.0}], ids=str
)
@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_of_both_players_are_those_of_the_definition(loss, options):
    """Also with uneven shares; and in one pass for all rows, or in two."""
    rule, model = hm.Adversarial(loss=loss, **options), tiny()
    shares = torch.tensor([0.1, 0.3, 0, 0.2, 0.2, 0.15, 0.05], dtype=torch.float64)
    batch = Batch(rows(), shares, torch.arange(7))
    expected = naive(rule, model, batch.values, shares, Stream(1))
    applied = []
    rule.update(model, batch, rule.init(model, Stream(0)), Stream(1), applied.append)
    assert applied == ["discriminator", "generator"]
    for network, gradients in zip((model.discriminator, model.generator), expected, strict=True):
        for p, gradient in zip(network.parameters(), gradients, strict=True):
            torch.testing.assert_close(p.grad, gradient, rtol=1e-9, atol=1e-12)


def test_small_steps_stand_for_exact_slopes():
    """On average over their directions, as the gradients of the penalty are linear in what is squared."""
    exact, model = hm.Adversarial(r1=2.0, r2=2.0), tiny(pieces=1)
    rough = hm.Adversarial(r1=2.0, r2=2.0, difference=1e-4)
    batch, weight = equal_batch(rows()), model.discriminator.score.weight
    seen = {}
    for rule in (exact, rough):
        seen[rule] = []
        for seed in range(400 if rule is rough else 1):
            stream = Stream(seed, "steps")
            model.latents = lambda n, stream: rows(n, 3, 9)
            rule.update(model, batch, rule.init(model, stream), stream, nothing)
            seen[rule].append(weight.grad.flatten().numpy().copy())
    check_mean(np.array(seen[rough]), seen[exact][0], 4.5)


# --- the rule -----------------------------------------------------------------------------------


def test_the_generator_learns_in_one_of_so_many_updates():
    rule, model, stream = hm.Adversarial(discriminator_steps=3), tiny(), Stream(0)
    state, applied, metrics = rule.init(model, stream), [], {}
    for _ in range(7):
        state, metrics = rule.update(model, equal_batch(rows()), state, stream, applied.append)
    assert applied == (["discriminator"] * 3 + ["generator"]) * 2 + ["discriminator"]
    assert int(state["updates"]) == 7
    assert metrics.keys() == {"discriminator_loss", "generator_loss", "data_score", "made_score", "told"}


def test_metrics_are_means_of_all_updates_at_first():
    rule, model, stream = hm.Adversarial(discriminator_steps=2), tiny(), Stream(0)
    state, seen = rule.init(model, stream), []
    for number in range(4):
        batch = equal_batch(rows(5, seed=number))
        state, metrics = rule.update(model, batch, state, stream, nothing)
        seen.append(float(model.judge(batch.values).mean().detach()))
    assert float(metrics["data_score"]) == pytest.approx(np.mean(seen))
    again, kept = rule.init(model, stream), Stream(1)
    values = []
    for _ in range(4):
        at = Stream(1)
        at.load_state_dict(kept.state_dict())
        again, metrics = rule.update(model, batch, again, kept, nothing)
        values.append(
            float(
                PAYOFFS["nonsaturating"]
                .generator(None, model.judge(model.make(model.latents(5, at))))
                .mean()
                .detach()
            )
        )
    assert float(metrics["generator_loss"]) == pytest.approx(np.mean(values[1::2]))


def test_told_counts_pairs():
    """All where data have the higher scores, none where made rows have them, and half where all are equal."""
    for scores, share in (([0.0, 5.0], 1), ([5.0, 0.0], 0), ([2.0, 2.0], 0.5)):
        judge = nn.Linear(2, 1, dtype=torch.float64)
        with torch.no_grad():
            judge.weight.copy_(torch.tensor([scores]))
        maker = nn.Linear(1, 2, dtype=torch.float64)
        with torch.no_grad():
            maker.weight.zero_()
            maker.bias.copy_(torch.tensor([1.0, 0.0]))
        model = GAN(maker, judge, latent=1, shape=(2,), visible=hm.Gaussian(2))
        batch = equal_batch(torch.tensor([[0.0, 1.0]] * 4, dtype=torch.float64))
        rule = hm.Adversarial()
        _, metrics = rule.update(model, batch, rule.init(model, Stream(0)), Stream(0), nothing)
        assert float(metrics["told"]) == share


def test_players_have_rates_of_their_own():
    moved = {}
    for factor in (1.0, 0.5):
        model = tiny()
        before = {k: p.detach().clone() for k, p in model.named_parameters()}
        rule = hm.Adversarial(discriminator_rate=factor)
        train(
            model, rows(16), rule, epochs=1, averaging=0, optimizer="sgd", momentum=0.0, betas=None, lr=1e-4
        )
        moved[factor] = {k: p.detach() - before[k] for k, p in model.named_parameters()}
    for name, step in moved[1.0].items():
        factor = 0.5 if name.startswith("discriminator") else 1.0
        torch.testing.assert_close(moved[0.5][name], factor * step, rtol=1e-3, atol=1e-9)


def test_an_average_forgets_by_its_half_life():
    parameter = nn.Parameter(torch.zeros(2))
    average = Average({"p": parameter}, 0.1, half_life=200)
    average.updates = 10**9
    with torch.no_grad():
        parameter.fill_(1)
    for _ in range(4):
        average.update(50)
    torch.testing.assert_close(average.values["p"], torch.full((2,), 0.5))
    for _ in range(200):
        average.update(1)
    torch.testing.assert_close(average.values["p"], torch.full((2,), 0.75))


def test_only_the_generator_is_averaged_with_its_statistics():
    model = GAN.of("dcgan", (8, 8), width=4, latent=3)
    rule = hm.Adversarial()
    names = rule.averaged(model).keys()
    assert {name.split(".")[0] for name in names} == {"generator"}
    assert any("running_mean" in name for name in names)
    assert not any("num_batches" in name for name in names)
    raw = train(GAN.of("dcgan", (8, 8), width=4, latent=3), images(), averaging=0).model.state_dict()
    averaged = train(model, images(), averaging=1.0).model.state_dict()
    same_bits = {name: torch.equal(averaged[name], value) for name, value in raw.items()}
    assert all(same_bits[name] for name in raw if name.startswith("discriminator"))
    assert not same_bits["generator.body.0.weight"]


@pytest.mark.parametrize("network", ["modern", "dcgan"])
def test_bfloat16_is_near_and_keeps_parameters_as_they_are(network):
    batch, grads = equal_batch(images(16)), []
    for mixed in (False, True):
        model = GAN.of(network, (8, 8), width=8, latent=4)
        rule = hm.Adversarial(mixed_precision=mixed, r1=0.5, r2=0.5)
        rule.update(model, batch, rule.init(model, Stream(0)), Stream(0), nothing)
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        assert model.dtype == torch.float32
    assert not torch.equal(*grads)
    assert float((grads[0] - grads[1]).norm() / grads[0].norm()) < 0.1


def test_in_bfloat16_the_generator_answers_the_discriminator_as_it_now_is():
    """Autocast keeps the casts of weights for as long as it lasts, whatever becomes of the weights."""

    def update(moved):
        model = GAN.of("modern", (8, 8), width=8, latent=4)
        rule = hm.Adversarial(mixed_precision=True, r1=0.5, r2=0.5)

        def apply(player):
            if player == moved:
                with torch.no_grad():
                    for parameter in model.discriminator.parameters():
                        parameter.mul_(1.5)

        state = rule.init(model, Stream(0))
        rule.update(model, equal_batch(images(16)), state, Stream(0), apply)
        return torch.cat([p.grad.flatten() for p in model.generator.parameters()])

    still, answered = update("neither"), update("discriminator")
    assert float((answered - still).norm() / still.norm()) > 0.1
    assert torch.equal(update("generator"), still)


@pytest.mark.parametrize(
    ("options", "make", "message"),
    [
        (
            {"r2": 1.0, "difference": 0.01, "mixed_precision": True},
            tiny,
            "difference: got 0.01, expected none, as bfloat16 rounds",
        ),
        (
            {"r1": 1.0, "difference": 0.01},
            lambda: GAN.of("mlp", (8, 8), visible=hm.Gaussian(64)),
            "difference: got 0.01, expected none, as the discriminator's dropout changes",
        ),
        ({"augment": ["colour"]}, tiny, "augment: got .* expected nothing, as rows are no images"),
        (
            {"r1": 1.0},
            lambda: GAN.of("dcgan", (16, 16), normalisation="batch"),
            "r1: got 1.0, expected 0, as",
        ),
        (
            {"loss": "wasserstein"},
            lambda: GAN.of("dcgan", (16, 16), normalisation="batch"),
            "gradient_penalty: got 10",
        ),
        ({"loss": "hing"}, tiny, "loss: got 'hing'"),
        ({"augment": ["flip"]}, tiny, "augment: got"),
        ({"discriminator_rate": 0}, tiny, "discriminator_rate: got 0"),
        ({"r1": -1}, tiny, "r1: got -1"),
    ],
)
def test_what_does_not_fit_is_refused(options, make, message):
    with pytest.raises(ArgumentError, match=message):
        train(make(), rows(16), hm.Adversarial(**options))


def test_other_models_and_likelihoods_are_refused():
    with pytest.raises(ArgumentError, match="rule: got 'adversarial', expected a rule that fits a rbm"):
        train(hm.RBM(2, 2), rows(16))
    with pytest.raises(ArgumentError, match="rule: got 'pcd', expected a rule that fits a gan"):
        train(tiny(), rows(16), hm.PCD())
    with pytest.raises(ArgumentError, match="likelihood_every: got 1, expected 0, as a gan has none"):
        train(tiny(), rows(16), likelihood_every=1)
    with pytest.raises(ArgumentError, match=r"betas: got .* expected None, as RMSprop has none"):
        train(tiny(), rows(16), optimizer="RMSprop")


def test_players_that_cannot_learn_apart_are_refused():
    frozen = own()
    frozen.generator.requires_grad_(False)
    with pytest.raises(ArgumentError, match="model: got a generator that is frozen"):
        train(frozen, rows(16))
    both = nn.Linear(1, 1)
    with pytest.raises(ArgumentError, match="players that share parameters"):
        train(GAN(both, both, latent=1, shape=(1,), visible=hm.Gaussian(1)), rows(16, 1))


def test_a_batch_of_one_row_is_refused_where_networks_normalise_over_it():
    maker = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    model = GAN(maker, nn.Linear(2, 1), latent=3, shape=(2,), visible=hm.Gaussian(2))
    for size, n in ((16, 33), (1, 34)):
        with pytest.raises(
            ArgumentError, match=rf"batch_size: got {size}, expected .* more than one of {n} rows"
        ):
            train(model, rows(n).float(), batch_size=size)
    assert train(model, rows(34).float()).records


def test_networks_of_the_users_own_draw_from_the_run():
    class Judge(nn.Linear):
        def forward(self, x):
            return super().forward(nn.functional.dropout(x, 0.5, self.training))

    class Maker(nn.Linear):
        def forward(self, z):
            return super().forward(z + torch.randn_like(z))

    records, weights, made = [], [], []
    for seed in (0, 1):
        model = GAN(Maker(3, 2), Judge(2, 1), latent=3, shape=(2,), visible=hm.Gaussian(2))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(0.1)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        last = train(model, rows(40).float()).records[-1]
        records.append({name: value for name, value in last.items() if "seconds" not in name})
        weights.append(model.discriminator.weight)
        made.append(hm.sample(model, 9, seed=4))
        assert torch.equal(torch.get_rng_state(), before)
    assert records[0] == records[1]
    assert torch.equal(*weights)
    assert torch.equal(*made)
    assert not torch.equal(hm.sample(model, 9, seed=5), made[0])


def test_a_game_is_warned_of_the_scale_of_its_rows(caplog):
    with caplog.at_level(logging.WARNING, "harmonium"):
        train(tiny(visible=hm.Gaussian(2, learn_precision=True)), 1000 * rows(40))
    [message] = [record.getMessage() for record in caplog.records if "Gaussian" in record.getMessage()]
    assert message.endswith("; standardise them")
    with pytest.raises(ArgumentError, match="expected Gaussian units of precision 1"):
        tiny(visible=hm.Gaussian(2, precision=4))


def test_batches_through_a_normalised_discriminator_stay_apart():
    """Data and made rows are normalised by themselves."""
    model = GAN.of("dcgan", (28, 28), width=4, normalisation="batch")
    sizes = []
    model.discriminator.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    rule = hm.Adversarial()
    rule.update(model, equal_batch(torch.rand(6, 784)), rule.init(model, Stream(0)), Stream(0), nothing)
    assert sizes == [6, 6, 6]


# --- augmentation -------------------------------------------------------------------------------


def test_each_image_is_changed_in_its_own_way_and_lets_gradients_through():
    x = (Stream(0).uniform(6, 3 * 16 * 16, torch.float64) * 2 - 1).view(6, 3, 16, 16)
    x = x[:1].repeat(6, 1, 1, 1).requires_grad_()
    for name in AUGMENTATIONS:
        y = augment(x, [name], Stream(1))
        assert y.shape == x.shape
        assert sum(not torch.equal(y[i], y[0]) for i in range(1, 6)) >= 3
        (gradient,) = torch.autograd.grad(y.sum(), x)
        assert bool(gradient.any())
        assert torch.equal(augment(x, [name], Stream(1)), y)
    assert augment(x, (), Stream(0)) is x


def test_translation_moves_and_cutout_covers():
    x = torch.arange(1.0, 257).view(1, 1, 16, 16).repeat(200, 1, 1, 1)
    moved = augment(x, ["translation"], Stream(2))
    assert augment(torch.ones(200, 1, 28, 28), ["translation"], Stream(2))[:, 0, 14, :4].sum(1).min() == 0
    shifts = set()
    for image in moved[:, 0]:
        down, right = next(
            (a, b)
            for a in range(-2, 3)
            for b in range(-2, 3)
            if torch.equal(
                image[max(a, 0) : 16 + min(a, 0), max(b, 0) : 16 + min(b, 0)],
                x[0, 0, max(-a, 0) : 16 + min(-a, 0), max(-b, 0) : 16 + min(-b, 0)],
            )
        )
        shifts.add((down, right))
        assert int((image == 0).sum()) == 256 - (16 - abs(down)) * (16 - abs(right))
    assert len(shifts) == 25
    cut = augment(x, ["cutout"], Stream(3))
    gone = (cut == 0).flatten(1).sum(1)
    assert int(gone.max()) == 64
    assert int(gone.min()) >= 16
    assert bool(((cut == 0) | (cut == x)).all())


def test_colour_changes_brightness_saturation_and_contrast():
    grey = torch.rand(500, 1, 4, 4, generator=torch.Generator().manual_seed(0)).expand(500, 3, 4, 4)
    y = augment(grey, ["colour"], Stream(0))
    torch.testing.assert_close(y[:, 0], y[:, 2])
    shift = (y - grey).mean((1, 2, 3))
    assert -0.5 <= float(shift.min()) < -0.45 < 0.45 < float(shift.max()) <= 0.5
    contrast = y.std((1, 2, 3)) / grey.std((1, 2, 3))
    assert 0.5 <= float(contrast.min()) < 0.55 < 1.45 < float(contrast.max()) <= 1.5


# --- runs ---------------------------------------------------------------------------------------

LONG = {"epochs": 3, "averaging": 1.0}
CASES = {
    "perceptrons with dropout": ({"network": "mlp", **TINY, "dropout": 0.5}, {"discriminator_steps": 2}),
    "convolutions": ({"network": "dcgan", "width": 4, "latent": 3}, {"augment": ["translation", "cutout"]}),
    "modern": ({"network": "modern", "width": 4, "latent": 3}, {"loss": "relativistic"}),
    "classes": ({"network": "dcgan", "width": 4, "latent": 3, "classes": 2}, {"loss": "wasserstein"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_killed_run_resumes_bit_for_bit(case, tmp_path):
    """Within an epoch, both optimisers, the average and all random bits included."""
    network, options = CASES[case]
    data = images()
    if "classes" in network:
        data = torch.cat((data, (torch.arange(len(data)) % 2)[:, None]), 1)
    rule, model = hm.Adversarial(**options), GAN.of(shape=(8, 8), **network)
    torch.manual_seed(5)
    whole = train(model, data, rule, out=tmp_path / "run", checkpoint_every=1e-9, keep=50, **LONG)
    assert len(whole.records) == 3
    back_to(tmp_path / "run", 4)
    torch.manual_seed(6)
    again = hm.resume(tmp_path / "run", data)
    assert same(again, whole)
    assert torch.equal(
        hm.sample(again.model, 5), hm.sample(hm.load(tmp_path / "run" / "model.safetensors"), 5)
    )


class Maker(nn.Module):
    """A generator from elsewhere, with a dropout of its own."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, z):
        return self.net(z)


def own():
    """Return a network of modules that no family knows."""
    torch.manual_seed(1)
    judge = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Tanh(), nn.Linear(8, 1))
    return GAN(Maker(), judge, latent=3, shape=(2,), visible=hm.Gaussian(2))


def test_a_run_of_the_users_own_modules_resumes_too(tmp_path):
    data = rows(40).float()
    whole = train(own(), data, out=tmp_path / "run", checkpoint_every=1e-9, keep=50, epochs=3)
    back_to(tmp_path / "run", 4)
    with pytest.raises(hm.errors.FileError, match="network of the user's own"):
        hm.resume(tmp_path / "run", data)
    with pytest.raises(hm.errors.FileError, match="another model"):
        hm.resume(tmp_path / "run", data, model=tiny().float())
    assert same(hm.resume(tmp_path / "run", data, model=own()), whole)


def test_a_fit_takes_what_is_usual_for_the_rule_unless_told(tmp_path):
    train(tiny(), rows(40), out=tmp_path / "run", betas=(0.5, 0.9))
    options = hm.training.RunFolder(tmp_path / "run").config()["options"]
    assert options["optimizer"] == "Adam"
    assert (options["betas"], options["lr"]) == ([0.5, 0.9], 0.01)
    assert Options().optimizer == "sgd"


def test_each_family_of_networks_has_a_learning_rate_of_its_own(tmp_path):
    own = GAN(nn.Linear(3, 2), nn.Linear(2, 1), latent=3, shape=(2,))
    assert own.usual_rate == RATE
    for side in (28, 32, 64):
        rates = {name: family().rate(Rows((1, side, side))) for name, family in NETWORKS.items()}
        small = rates.pop("dcgan")
        assert set(rates.values()) == {RATE}
        assert small == (2e-3 if side == 28 else RATE)
    assert NETWORKS["dcgan"](normalisation="none").rate(Rows((1, 28, 28))) == RATE
    model = GAN.of("dcgan", (8, 8), width=4, latent=3)
    record = hm.fit(model, images(20), hm.Adversarial(), epochs=1, out=tmp_path / "run").records[-1]
    assert record["lr"] == 2e-3
    assert hm.training.RunFolder(tmp_path / "run").config()["options"]["lr"] == 2e-3
    described = Options.model_fields["lr"].description
    expected = f"of a gan {RATE:g}, or 0.002 for dcgan networks with spectral norms, of images up to 28 x 28"
    assert expected in described


def test_each_epoch_tells_of_both_players_and_of_samples(tmp_path):
    data = hm.datasets.from_array(
        (images(60) * 255).byte().view(60, 8, 8).numpy(), validation=20, binarisation="none"
    )
    model = GAN.of("dcgan", (8, 8), width=4, latent=3)
    history = train(model, data, out=tmp_path / "run", samples_every=1)
    last = log(tmp_path / "run")[-1]
    for split in ("train", "validation"):
        assert 0 <= last[f"{split}/told"] <= 1
    assert last["rule/discriminator_loss"] > 0
    assert last["samples/spread"] >= 0
    shown = sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())
    assert shown == ["epoch-00001.png", "epoch-00002.png"]
    found = {finding.name for finding in diagnose(model, history, data)}
    assert {"told from data", "spread of made rows", "knows rows by heart"} <= found


def test_the_pictures_of_plain_rows_have_the_networks_shape(tmp_path):
    train(
        GAN.of("dcgan", (8, 8), width=4, latent=3),
        images(20),
        out=tmp_path / "run",
        samples_every=1,
        epochs=1,
    )
    assert [path.name for path in (tmp_path / "run" / "samples").iterdir()] == ["epoch-00001.png"]
    flat = GAN.of("mlp", (64,), **TINY)
    data = hm.datasets.from_array(images(20).byte().view(20, 8, 8).numpy())
    train(flat, data, out=tmp_path / "flat", samples_every=1, epochs=1)
    assert [path.name for path in (tmp_path / "flat" / "samples").iterdir()] == ["epoch-00001.png"]


def test_scores_of_an_epoch_are_those_of_the_model():
    data = rows(30).float()
    model = own()
    record = train(model, data, averaging=0, epochs=1, probe=30).records[-1]
    made = hm.samplers.generate(model, 30, Stream(3, "monitor"))
    scores, others = model.score(data), model.score(made)
    assert record["train/score"] == pytest.approx(float(scores.mean()), rel=1e-5)
    assert record["train/told"] == pytest.approx(float((scores[:, None] > others).double().mean()))
    spread = made.double().var(0, correction=0).sum() / data.double().var(0, correction=0).sum()
    assert record["samples/spread"] == pytest.approx(float(spread))
    assert record["train/score_deviation"] == pytest.approx(float(scores.std(correction=0)), rel=1e-5)


def test_a_discriminator_that_has_won_is_told_of(caplog):
    judge = nn.Linear(2, 1)
    maker = nn.Linear(1, 2)
    with torch.no_grad():
        judge.weight.fill_(1)
        maker.weight.zero_()
        maker.bias.fill_(-9)
    model = GAN(maker, judge, latent=1, shape=(2,), visible=hm.Gaussian(2))
    data = rows(40).float()
    with caplog.at_level(logging.WARNING, "harmonium"):
        history = train(model, data, lr=1e-6, epochs=3)
    assert [record.getMessage() for record in caplog.records if "has won" in record.getMessage()] == [
        "training: the discriminator gives data the higher score in 100.0 % of pairs with made rows; where "
        "it has won, the generator learns no more: raise the rule's r1 and r2, lower its discriminator_rate, "
        "or set its augment"
    ]
    caplog.clear()
    critic = train(model, data, hm.Adversarial(loss="wasserstein"), lr=1e-6, epochs=3)
    assert not caplog.records
    assert "rule/told" not in critic.records[-1]
    rule, state = hm.Adversarial(loss="wasserstein"), hm.Adversarial().init(model, Stream(0))
    state, metrics = rule.update(model, equal_batch(data), state, Stream(0), nothing)
    assert "told" not in metrics
    assert "mean.told" not in state
    assert critic.records[-1]["train/told"] == 1
    assert "told from data" not in {finding.name for finding in diagnose(model, critic, data)}
    verdicts = {finding.name: finding.verdict for finding in diagnose(model, history, data)}
    assert verdicts["told from data"] == verdicts["spread of made rows"] == "bad"


def test_a_discriminator_that_tells_nothing_is_told_of(caplog):
    judge, maker = nn.Linear(2, 1), nn.Linear(1, 2)
    with torch.no_grad():
        judge.weight.zero_()
    model = GAN(maker, judge, latent=1, shape=(2,), visible=hm.Gaussian(2))
    data = rows(40).float()
    with caplog.at_level(logging.WARNING, "harmonium"):
        early = train(model, data, lr=1e-12, batch_size=2, epochs=24)
        assert not caplog.records
        history = train(model, data, lr=1e-12, batch_size=2, epochs=26)
    assert [record.getMessage() for record in caplog.records] == [
        "training: the discriminator gives all rows nearly the same score (a standard deviation of 0); "
        "unless made rows are like data, it has died: lower lr"
    ]
    last = history.records[-1]
    assert last["train/told"] == last["rule/told"] == 0.5
    assert last["train/score_deviation"] < 1e-6
    found = {finding.name: finding for finding in diagnose(model, history, data)}["told from data"]
    assert (found.verdict, found.value) == ("unknown", 0.5)
    assert "lower lr" in found.advice
    assert {finding.name: finding.verdict for finding in diagnose(model, early, data)}[
        "told from data"
    ] == "good"
    assert tells_nothing(0.52, 1e-3, 500)
    assert not tells_nothing(0.6, 1e-3, 500)
    assert not tells_nothing(0.52, 0.1, 500)


def test_values_that_are_not_finite_end_the_run_with_what_to_try():
    with pytest.raises(TrainingError, match=r"no longer finite .*lower lr, raise the rule's r1 and r2"):
        train(
            tiny(),
            rows(40),
            hm.Adversarial(loss="least-squares"),
            lr=1e200,
            optimizer="sgd",
            betas=None,
            epochs=5,
        )


def test_a_game_on_a_line_comes_near_its_data():
    """A normal distribution far from where the generator begins is found; its value is then near -log 4."""
    data = 2 + 0.5 * Stream(0, "line").normal(400, 1)
    model = GAN.of("mlp", (1,), visible=hm.Gaussian(1), **{**TINY, "hidden": 16, "judges": 16, "pieces": 1})
    rule = hm.Adversarial(loss="minimax", r1=0.1, r2=0.1)
    history = hm.fit(model, data, rule, epochs=40, batch_size=50, lr=0.01, seed=1)
    made = hm.sample(model, 2000, seed=3)
    assert abs(float(made.mean()) - 2) < 0.4
    assert -history.records[-1]["rule/discriminator_loss"] == pytest.approx(-math.log(4), abs=0.15)


def test_a_trained_discriminator_has_the_log_odds_of_the_densities():
    """Data from N(1, 1) and made rows from N(0, 1): d(x) = x - 1/2, and the game's value by quadrature."""
    maker, judge = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        maker.weight.fill_(1)
        for parameter in (maker.bias, judge.weight, judge.bias):
            parameter.zero_()
    model = GAN(maker, judge, latent=1, shape=(1,), visible=hm.Gaussian(1))
    data = 1 + Stream(0, "line").normal(8000, 1)
    rule = hm.Adversarial(loss="minimax", discriminator_steps=10_000)
    options = {"epochs": 6, "batch_size": 100, "lr": 0.02, "schedule": "linear"}
    history = hm.fit(model, data, rule, seed=1, **options)
    assert judge.weight.item() == pytest.approx(1, abs=0.1)
    assert judge.bias.item() == pytest.approx(-0.5, abs=0.1)
    x = np.linspace(-12, 12, 4001)
    p, q = (np.exp(-0.5 * (x - mean) ** 2) / math.sqrt(2 * math.pi) for mean in (1, 0))
    value = np.trapezoid(-p * np.log1p(q / p) - q * np.log1p(p / q), x)
    assert value > -math.log(4) + 0.15
    assert -history.records[-1]["rule/discriminator_loss"] == pytest.approx(value, abs=0.04)


# --- values that change in the course of a run --------------------------------------------------

START = {"lr": 0.02, "betas": (0.0, 0.9), "half_life": 0.0, "averaging": 1.0}
FINAL = {"lr": 0.005, "betas": (0.0, 0.99), "half_life": 40.0, "rule.r1": 0.1, "rule.r2": 0.2}


class Watched(hm.Adversarial):
    """The rule, which notes what holds at each of its updates."""

    seen: ClassVar[list] = []

    def update(self, model, batch, state, stream, apply):
        group = apply.__self__.optimisers["generator"].param_groups[0]
        self.seen.append((self.r1, self.r2, group["lr"], *group["betas"]))
        return super().update(model, batch, state, stream, apply)


def test_settings_go_to_their_final_values_by_a_cosine():
    Watched.seen.clear()
    rule = Watched(loss="relativistic", r2=2.0)
    options = {**START, "epochs": 4, "batch_size": 10, "final": FINAL, "final_at": 0.5}
    history = train(tiny(), rows(40), rule, **options)
    share = np.arange(16) / 16
    way = (1 - np.cos(np.pi * np.minimum(1, share / 0.5))) / 2
    between = [(1.0, 0.1), (2.0, 0.2), (0.02, 0.005), (0.0, 0.0), (0.9, 0.99)]
    expected = np.stack([first + way * (last - first) for first, last in between], 1)
    np.testing.assert_allclose(np.array(Watched.seen), expected, rtol=1e-12)
    assert [record["lr"] for record in history.records][1:] == pytest.approx([0.005] * 3)
    assert (rule.r1, rule.r2) == (None, 2.0)


def test_the_average_of_a_half_life_that_grows_from_nothing():
    """It is the parameters themselves at first, and forgets by the final half-life in the end."""
    model, seen = tiny(), []
    options = {**START, "epochs": 2, "batch_size": 20, "final": {"half_life": 40.0}, "final_at": 1.0}

    class Noted(hm.Adversarial):
        def update(self, model, batch, state, stream, apply):
            found = super().update(model, batch, state, stream, apply)
            seen.append(_first(model))
            return found

    train(model, rows(40), Noted(), **options)
    average = torch.zeros_like(seen[0])
    for update, weight in enumerate(seen):
        half = 40 * (1 - math.cos(math.pi * update / 4)) / 2
        share = 1.0 if half == 0 else max(1 / (update + 1), 1 - 0.5 ** (20 / half))
        average = average + share * (weight - average)
    torch.testing.assert_close(_first(model), average)
    assert not torch.equal(_first(model), seen[-1])


def _first(model):
    return next(model.generator.parameters()).detach().clone()


def test_a_run_whose_settings_change_resumes_bit_for_bit(tmp_path):
    options = {**START, "epochs": 3, "final": FINAL, "final_at": 0.8}
    rule, data = hm.Adversarial(loss="relativistic"), rows(40).float()
    model = tiny().float()
    whole = train(model, data, rule, out=tmp_path / "run", checkpoint_every=1e-9, keep=50, **options)
    back_to(tmp_path / "run", 4)
    again = hm.resume(tmp_path / "run", data)
    assert same(again, whole)


def test_other_optimisers_and_rules_go_to_final_values_too():
    model = hm.RBM(4, 3)
    moved = hm.fit(model, torch.eye(4), epochs=3, lr=0.1, final={"lr": 0.01, "momentum": 0.9}, final_at=1.0)
    way = [(1 - math.cos(math.pi * k / 3)) / 2 for k in (1, 2, 3)]
    linear = [min(1, (1 - k / 3) / 0.7) for k in (1, 2, 3)]
    expected = [(0.1 - 0.09 * w) * f for w, f in zip(way, linear, strict=True)]
    assert [record["lr"] for record in moved.records] == pytest.approx(expected)


def test_final_values_are_keys_of_the_command_line():
    pairs = ["lr=0.02", "final.lr=0.005", "final.rule.r1=0.1", "final.betas=[0,0.99]", "final_at=0.3"]
    wish = understand("gan", "digits", ["network=mlp", *pairs])
    assert wish.options["final"] == {"lr": 0.005, "rule.r1": 0.1, "betas": (0.0, 0.99)}
    assert gathered({"final.lr": 0.1}, [{"final": {"lr": 0.2, "rule.r1": 1.0}}]) == {
        "final": {"lr": 0.1, "rule.r1": 1.0}
    }


@pytest.mark.parametrize(
    ("final", "message"),
    [
        ({"rule.r3": 1.0}, "final.rule: unknown 'r3', expected one of r1, r2, gradient_penalty"),
        ({"rule.r1": -1.0}, "final.rule.r1: got -1.0"),
        ({"rule.r1": "much"}, "final.rule.r1: got 'much', expected a number"),
        ({"lr": 0.0}, "final.lr: got 0.0"),
        ({"lr": None}, "final.lr: got None"),
        ({"betas": (0.0, 1.0)}, "final.betas: got 1.0"),
        ({"momentum": 0.9}, "final.momentum: got 0.9, which needs such an optimiser"),
        ({"epochs": 3}, "final: unknown 'epochs', expected one of lr, momentum, betas, half_life"),
    ],
)
def test_final_values_that_cannot_be_reached_are_refused(final, message):
    with pytest.raises(ArgumentError, match=message):
        train(tiny(), rows(16), final=final)


def test_final_values_that_need_more_are_refused():
    batch = GAN.of("dcgan", (16, 16), normalisation="batch")
    with pytest.raises(ArgumentError, match=r"r1: got 1.0, expected 0, as"):
        train(batch, torch.zeros(16, 256), final={"rule.r1": 1.0})
    with pytest.raises(ArgumentError, match=r"final.half_life: .* needs a first value"):
        train(tiny(), rows(16), final={"half_life": 5.0}, half_life=None)
    with pytest.raises(ArgumentError, match=r"final.rule.r1: pcd has no number that can change"):
        hm.fit(hm.RBM(4, 3), torch.eye(4), final={"rule.r1": 1.0})
    with pytest.raises(ArgumentError, match=r"final: got .* no end"):
        hm.training.advance(hm.RBM(4, 3), torch.eye(4), hm.PCD(), None, final={"lr": 0.1})
