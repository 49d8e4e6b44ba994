"""Small models of every pair of units, and their exact distributions by enumeration.

The enumeration is written in NumPy from the definition of the energy, and takes nothing of the library
but the parameters' values.
"""

from itertools import product

import numpy as np
import torch
from scipy import special

import harmonium as hm

REAL = ("gaussian", "relu")
KINDS = tuple(kind for kind in hm.UNITS if kind != "mixed")
DISCRETE = tuple(kind for kind in KINDS if kind not in REAL)
VISIBLE = tuple(kind for kind in KINDS if kind != "relu")
PAIRS = [(v, h) for v in VISIBLE for h in KINDS if v not in REAL or h not in REAL]
DISCRETE_PAIRS = [(v, h) for v in DISCRETE for h in DISCRETE]
STATES = 3
SUPPORT = {"bernoulli": [[0.0], [1.0]], "spin": [[-1.0], [1.0]], "categorical": np.eye(STATES).tolist()}


def name(value):
    """Return the name of a parametrised case."""
    return "-".join(value) if isinstance(value, tuple) else None


def unit(kind, size, **options):
    """Return a layer of units of a kind; categorical ones have three states, and ReLU ones a precision."""
    if kind == "categorical":
        return hm.Categorical(size, STATES)
    if kind == "relu":
        return hm.ReLU(size, 1.6)
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


def precision(layer):
    """Return the precisions of a layer's units, shape (size); zero if they are discrete."""
    if layer.kind == "gaussian":
        return np.exp(layer.log_precision.detach().double().numpy())
    return np.full(layer.size, layer.precision if layer.kind == "relu" else 0.0)


def rectified(z):
    """Return the log of the integral of exp(z y - y^2 / 2) over y >= 0, the mean of y and its variance."""
    below = special.log_ndtr(z)
    ratio = np.exp(-(z**2) / 2 - below) / np.sqrt(2 * np.pi)
    return below + z**2 / 2 + 0.5 * np.log(2 * np.pi), z + ratio, 1 - ratio * (z + ratio)


def logsumexp(x, axis=None):
    """Return the log of the sum of exponentials."""
    top = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.exp(x - top).sum(axis=axis, keepdims=True)) + top
    return total.squeeze(axis) if axis is not None else total.item()


class Exact:
    """The distribution p(v, h) ~ exp(-beta E) of a small machine, given its clamped visible units.

    One block, ``side``, is enumerated: the visible one unless it is Gaussian. Of the other block there
    is the conditional table if it is discrete, else the means and deviations; ``cut`` says whether its
    normal density is cut off at zero.

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
        self.cut = other.kind == "relu"
        if other.kind in REAL:
            self.precision = precision(other)
            self.mean = self.field / self.precision
            self.deviation = np.broadcast_to(1 / np.sqrt(beta * self.precision), self.mean.shape)
            parts = beta * self.field**2 / (2 * self.precision)
            parts = parts + 0.5 * np.log(2 * np.pi / (beta * self.precision))
            if self.cut:
                self.z, self.unit = self.mean / self.deviation, self.deviation[0]
                log_mass, mean, variance = rectified(self.z)
                parts = log_mass + np.log(self.unit)
                self.mean, self.deviation = mean * self.unit, np.sqrt(variance) * self.unit
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
        """Whether the other block has real units."""
        return hasattr(self, "mean")

    def sample(self, n, generator):
        """Draw ``n`` independent joint states, float64."""
        index = generator.choice(len(self.p), n, p=self.p)
        if self.continuous:
            partner = self.real(index, generator.normal(size=(n, self.mean.shape[1])))
        else:
            below = self.conditional.cumsum(1)[index]
            chosen = (below < generator.uniform(size=(n, 1))).sum(1)
            partner = self.others[chosen.clip(max=len(self.others) - 1)]
        pair = {self.side: self.states[index], self.partner: partner}
        return {block: torch.from_numpy(pair[block]) for block in ("visible", "hidden")}

    def real(self, index, normal):
        """Return real states of the other block made of normal deviates, given numbers of this one's."""
        if not self.cut:
            return self.mean[index] + self.deviation[index] * normal
        z = self.z[index]
        y = z - special.ndtri_exp(special.log_ndtr(-normal) + special.log_ndtr(z))
        return y * self.unit

    def normal(self, index, partner, columns=slice(None)):
        """Return the deviates that :meth:`real` makes states of, in some columns."""
        if not self.cut:
            return ((partner - self.mean[index])[:, columns]) / self.deviation[index][:, columns]
        z = self.z[index]
        deviates = -special.ndtri_exp(special.log_ndtr(z - partner / self.unit) - special.log_ndtr(z))
        return deviates[:, columns]

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

        A real block stands in two states, a deviation above and below its mean, which have its
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


# --- gradients by autograd ----------------------------------------------------------------------


def log_normaliser(model, block, field, parameters):
    """Return the log of the sum, or integral, over a block's states in fields of shape (rows, width)."""
    layer = model.layer(block)
    if layer.kind == "gaussian":
        beta = parameters[f"{block}.log_precision"].exp()
        return (field**2 / (2 * beta) + 0.5 * torch.log(2 * torch.pi / beta)).sum(-1)
    if layer.kind == "relu":
        z = field / layer.precision**0.5
        constant = 0.5 * np.log(2 * np.pi / layer.precision)
        return (torch.special.log_ndtr(z) + z**2 / 2 + constant).sum(-1)
    return torch.logsumexp(field @ torch.from_numpy(configurations(layer)).T, -1)


def negative_log_likelihood(model, v, weights, parameters=None):
    """Return the sum over rows of weight times -log p(v), by enumeration, for autograd.

    Arguments:
        model: A small machine, float64.
        v: Visible statistics, shape (rows, width).
        weights: Shape (rows).
        parameters: By name, in place of the machine's own.
    """
    own = dict(model.named_parameters()) if parameters is None else parameters
    weight, b, c = own["weight"], own["visible.bias"], own["hidden.bias"]
    log_f = v @ b + log_normaliser(model, "hidden", c + v @ weight, own)
    if model.visible.kind == "gaussian":
        log_f = log_f - 0.5 * v**2 @ own["visible.log_precision"].exp()
        h = torch.from_numpy(configurations(model.hidden))
        log_z = torch.logsumexp(h @ c + log_normaliser(model, "visible", b + h @ weight.T, own), 0)
    else:
        s = torch.from_numpy(configurations(model.visible))
        log_z = torch.logsumexp(s @ b + log_normaliser(model, "hidden", c + s @ weight, own), 0)
    return weights.sum() * log_z - weights @ log_f


# --- the Gibbs kernel by enumeration ------------------------------------------------------------


def given(model, block, other):
    """Return the table of a discrete block's states given states of the other, shape (*, states)."""
    weight = model.weight.detach().numpy()
    bias = model.layer(block).bias.detach().numpy()
    field = bias + other @ (weight.T if block == "visible" else weight)
    table = field @ configurations(model.layer(block)).T
    return np.exp(table - logsumexp(table, -1)[..., None])


def hidden_means(model, v):
    """Return the expected hidden statistics given visible ones of shape (rows, width)."""
    if model.hidden.kind in REAL:
        field = model.hidden.bias.detach().numpy() + v @ model.weight.detach().numpy()
        root = np.sqrt(precision(model.hidden))
        return (rectified(field / root)[1] if model.hidden.kind == "relu" else field / root) / root
    return given(model, "hidden", v) @ configurations(model.hidden)


def points(exact, nodes=20):
    """Return points of the other block given each enumerated state, and their weights.

    They are all its states if it is discrete, else those of a Gauss-Hermite rule, in deviates of which a
    density that is cut off is smooth as well.

    Returns:
        Shapes (states, points, width) and (states, points).
    """
    n = len(exact.p)
    if not exact.continuous:
        return np.broadcast_to(exact.others, (n, *exact.others.shape)), exact.conditional
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    width = exact.mean.shape[1]
    grid = np.array(list(product(x, repeat=width)))
    weights = np.array(list(product(w / w.sum(), repeat=width))).prod(1)
    places = np.stack([exact.real(np.full(len(grid), i), grid) for i in range(n)])
    return places, np.broadcast_to(weights, (n, len(weights)))


def transition(model, exact):
    """Return the probabilities that a Gibbs step leads from one enumerated state (row) to another."""
    x, w = points(exact)
    return np.einsum("sp,spt->st", w, given(model, exact.side, x))


def contrastive_states(model, v, weights, steps):
    """Return the visible states after some exact Gibbs steps from weighted rows, and their weights.

    Arguments:
        model: A small machine.
        v: The rows that the steps start from, shape (rows, width).
        weights: Shape (rows).
        steps: How many applications of the kernel, at least one.
    """
    exact = Exact(model)
    kernel = transition(model, exact)
    if exact.side == "visible":
        start = np.bincount(number(v, exact.states), weights, len(exact.p))
        return exact.states, start @ np.linalg.matrix_power(kernel, steps)
    hidden = weights @ given(model, "hidden", v) @ np.linalg.matrix_power(kernel, steps - 1)
    x, w = points(exact)
    return x.reshape(-1, x.shape[-1]), (hidden[:, None] * w).ravel()
