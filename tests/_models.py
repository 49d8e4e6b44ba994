"""Small models of every pair of units, and their exact distributions by enumeration.

The enumeration is written in NumPy from the definition of the energy, and takes nothing of the library
but the parameters' values.
"""

from itertools import product

import numpy as np
import torch

import harmonium as hm

KINDS = tuple(hm.UNITS)
DISCRETE = tuple(kind for kind in KINDS if kind != "gaussian")
PAIRS = [(v, h) for v in KINDS for h in KINDS if not v == h == "gaussian"]
DISCRETE_PAIRS = [(v, h) for v in DISCRETE for h in DISCRETE]
STATES = 3
SUPPORT = {"bernoulli": [[0.0], [1.0]], "spin": [[-1.0], [1.0]], "categorical": np.eye(STATES).tolist()}


def name(value):
    """Return the name of a parametrised case."""
    return "-".join(value) if isinstance(value, tuple) else None


def unit(kind, size, **options):
    """Return a layer of units of a kind; categorical ones have three states."""
    if kind == "categorical":
        return hm.Categorical(size, STATES)
    return hm.UNITS[kind](size, **options)


def rbm(pair, sizes=(3, 2), scale=1.0, seed=0, dtype=torch.float64, learn_precision=False):
    """Return a machine whose parameters are all random; ``scale`` is the weights' deviation."""
    options = {"learn_precision": learn_precision} if pair[0] == "gaussian" else {}
    model = hm.RBM(unit(pair[0], sizes[0], **options), unit(pair[1], sizes[1])).double()
    generator = np.random.default_rng([seed, *map(ord, "".join(pair))])
    with torch.no_grad():
        model.weight.copy_(torch.from_numpy(scale * generator.normal(size=model.weight.shape)))
        for layer in (model.visible, model.hidden):
            layer.bias.copy_(torch.from_numpy(0.5 * generator.normal(size=layer.width)))
            if layer.kind == "gaussian":
                layer.log_precision.copy_(torch.from_numpy(generator.uniform(-0.4, 0.7, layer.size)))
    return model.to(dtype)


def configurations(layer):
    """Return the statistics of all states of a discrete layer, shape (states, width)."""
    rows = product(SUPPORT[layer.kind], repeat=layer.size)
    return np.array([np.concatenate(row) for row in rows])


def logsumexp(x, axis=None):
    """Return the log of the sum of exponentials."""
    top = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return total.squeeze(axis) if axis is not None else total.item()


class Exact:
    """The distribution p(v, h) ~ exp(-beta E) of a small machine, given its clamped visible units.

    One block, ``side``, is enumerated: the visible one unless it is Gaussian. Of the other block there
    is the conditional table if it is discrete, else the means and deviations.

    Arguments:
        model: The machine.
        beta: The inverse temperature.
        clamp: Visible statistics to keep, shape (width), NaN where free.
    """

    def __init__(self, model, beta=1.0, clamp=None):
        array = {k: p.detach().double().numpy() for k, p in model.named_parameters()}
        gaussian = model.visible.kind == "gaussian"
        self.side, self.partner = ("hidden", "visible") if gaussian else ("visible", "hidden")
        layer, other = model.layer(self.side), model.layer(self.partner)
        weight = array["weight"].T if gaussian else array["weight"]
        self.states = configurations(layer)
        self.field = array[f"{self.partner}.bias"] + self.states @ weight
        log_p = beta * self.states @ array[f"{self.side}.bias"]
        if not gaussian and clamp is not None:
            wrong = (self.states != clamp) & ~np.isnan(clamp)
            log_p[wrong.any(1)] = -np.inf
        if other.kind == "gaussian":
            self.precision = np.exp(array[f"{self.partner}.log_precision"])
            self.mean = self.field / self.precision
            self.deviation = np.broadcast_to(1 / np.sqrt(beta * self.precision), self.mean.shape)
            parts = beta * self.field**2 / (2 * self.precision)
            parts = parts + 0.5 * np.log(2 * np.pi / (beta * self.precision))
            if gaussian and clamp is not None:
                held = ~np.isnan(clamp)
                at = beta * (self.field * clamp - 0.5 * self.precision * clamp**2)
                parts = np.where(held, at, parts)
                self.mean = np.where(held, clamp, self.mean)
                self.deviation = np.where(held, 0.0, self.deviation)
            log_p = log_p + parts.sum(1)
        else:
            self.others = configurations(other)
            table = beta * self.field @ self.others.T
            self.conditional = np.exp(table - logsumexp(table, 1)[:, None])
            log_p = log_p + logsumexp(table, 1)
        self.log_partition = logsumexp(log_p)
        self.p = np.exp(log_p - self.log_partition)

    @property
    def continuous(self):
        """Whether the other block is Gaussian."""
        return hasattr(self, "mean")

    def sample(self, n, generator):
        """Draw ``n`` independent joint states, float64."""
        index = generator.choice(len(self.p), n, p=self.p)
        if self.continuous:
            partner = self.mean[index] + self.deviation[index] * generator.normal(
                size=(n, self.mean.shape[1])
            )
        else:
            below = self.conditional.cumsum(1)[index]
            chosen = (below < generator.uniform(size=(n, 1))).sum(1)
            partner = self.others[chosen.clip(max=len(self.others) - 1)]
        pair = {self.side: self.states[index], self.partner: partner}
        return {block: torch.from_numpy(pair[block]) for block in ("visible", "hidden")}

    def index(self, state):
        """Return the numbers of the enumerated block's states."""
        return number(state[self.side], self.states)

    def joint(self):
        """Return the probabilities of all joint states, (side x partner)."""
        return self.p[:, None] * self.conditional

    def mean_of_partner(self):
        """Return the other block's expected statistics given each state of the enumerated one."""
        return self.mean if self.continuous else self.conditional @ self.others

    def weighted_states(self):
        """Return joint states and weights with the model's exact moments, as tensors.

        A Gaussian block stands in two states, a deviation above and below its mean, which have its
        first and its second moments.
        """
        ends = (-1.0, 1.0) if self.continuous else (0.0,)
        deviation = self.deviation if self.continuous else 0.0
        partner = np.concatenate([self.mean_of_partner() + end * deviation for end in ends])
        pair = {self.side: np.tile(self.states, (len(ends), 1)), self.partner: partner}
        weights = np.tile(self.p, len(ends)) / len(ends)
        blocks = {block: torch.from_numpy(pair[block]) for block in ("visible", "hidden")}
        return blocks, torch.from_numpy(weights)


def number(rows, states):
    """Return which of the ``states`` each row is; a row that is none of them is an error."""
    rows = np.asarray(rows)
    code = 1.0 + np.arange(states.shape[1])
    code = 3.0**code
    order = np.argsort(states @ code)
    keys = (states @ code)[order]
    place = np.searchsorted(keys, rows @ code).clip(max=len(keys) - 1)
    found = order[place]
    if not np.array_equal(states[found], rows):
        raise AssertionError("a row is none of the layer's states")
    return found
