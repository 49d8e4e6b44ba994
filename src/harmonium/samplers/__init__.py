"""How to draw from a model: Markov chains, and what tells whether they mix."""

from ._ancestral import Ancestral, Completion, ascend, descend
from ._base_rates import base_biases
from ._blocks import draw_block
from ._diagnostics import autocorrelation_time, effective_sample_size, split_rhat
from ._gap_chains import GapChains, LinearMap
from ._generate import generate, interpolate
from ._gibbs import Gibbs
from ._impute import Imputed, draw_missing, fill_in, impute
from ._sample import sample
from ._sampler import Info, Sampler
from ._tempering import Tempering

__all__ = [
    "Ancestral",
    "Completion",
    "GapChains",
    "Gibbs",
    "Imputed",
    "Info",
    "LinearMap",
    "Sampler",
    "Tempering",
    "ascend",
    "autocorrelation_time",
    "base_biases",
    "descend",
    "draw_block",
    "draw_missing",
    "effective_sample_size",
    "fill_in",
    "generate",
    "impute",
    "interpolate",
    "sample",
    "split_rhat",
]
