"""Boltzmann machines and their relatives, with likelihoods that can be believed."""

from . import datasets, errors, likelihood, random, samplers, training, units
from .datasets import Dataset
from .errors import HarmoniumError
from .learning import CD, PCD, RULES
from .likelihood import LogLikelihood, LogPartition, log_likelihood, log_partition
from .models import RBM, load, save
from .random import Stream
from .samplers import Gibbs, sample
from .training import History, fit, resume
from .units import UNITS, Bernoulli, Categorical, Gaussian, Spin

__version__ = "0.1.0"

__all__ = [
    "CD",
    "PCD",
    "RBM",
    "RULES",
    "UNITS",
    "Bernoulli",
    "Categorical",
    "Dataset",
    "Gaussian",
    "Gibbs",
    "HarmoniumError",
    "History",
    "LogLikelihood",
    "LogPartition",
    "Spin",
    "Stream",
    "datasets",
    "errors",
    "fit",
    "likelihood",
    "load",
    "log_likelihood",
    "log_partition",
    "random",
    "resume",
    "sample",
    "samplers",
    "save",
    "training",
    "units",
]
