"""How to draw from a model: Markov chains, and what tells whether they mix."""

from ._blocks import draw_block
from ._diagnostics import autocorrelation_time, effective_sample_size, split_rhat
from ._gibbs import Gibbs
from ._mean_field import mean_field
from ._sample import sample
from ._sampler import Info, Sampler

__all__ = [
    "Gibbs",
    "Info",
    "Sampler",
    "autocorrelation_time",
    "draw_block",
    "effective_sample_size",
    "mean_field",
    "sample",
    "split_rhat",
]
