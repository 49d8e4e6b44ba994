"""What a distribution is: energies, conditionals and free energies."""

from ._base import Coupling, EnergyModel, GenerativeModel, Model, State, check_model, check_transform
from ._boltzmann import BoltzmannMachine, lattice
from ._classification import (
    INFERENCES,
    Classified,
    classify,
    error_rate,
    has_label,
    label_columns,
    predict,
    predict_proba,
)
from ._dbm import DBM, DBMClassifier
from ._dbn import DBN
from ._effective import effective_couplings
from ._enumeration import CEILING, choose_side, configurations, count_states, log_sum
from ._files import MODELS, check_fit, check_same, load, load_parameters, model_from_config, save
from ._gan import GAN, LAWS
from ._layers import as_layer
from ._masks import local_mask, random_mask
from ._mean_field import MeanField, inferred_fields, mean_field
from ._mlp import ACTIVATIONS, MLP, Autoencoder
from ._networks import NETWORKS, Family
from ._pairwise import PairwiseModel
from ._rbm import RBM

__all__ = [
    "ACTIVATIONS",
    "CEILING",
    "DBM",
    "DBN",
    "GAN",
    "INFERENCES",
    "LAWS",
    "MLP",
    "MODELS",
    "NETWORKS",
    "RBM",
    "Autoencoder",
    "BoltzmannMachine",
    "Classified",
    "Coupling",
    "DBMClassifier",
    "EnergyModel",
    "Family",
    "GenerativeModel",
    "MeanField",
    "Model",
    "PairwiseModel",
    "State",
    "as_layer",
    "check_fit",
    "check_model",
    "check_same",
    "check_transform",
    "choose_side",
    "classify",
    "configurations",
    "count_states",
    "effective_couplings",
    "error_rate",
    "has_label",
    "inferred_fields",
    "label_columns",
    "lattice",
    "load",
    "load_parameters",
    "local_mask",
    "log_sum",
    "mean_field",
    "model_from_config",
    "predict",
    "predict_proba",
    "random_mask",
    "save",
]
