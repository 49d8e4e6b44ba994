"""What a distribution is: energies, conditionals and free energies."""

from ._base import EnergyModel, GenerativeModel, State
from ._files import MODELS, check_fit, load, model_from_config, save
from ._rbm import RBM

__all__ = [
    "MODELS",
    "RBM",
    "EnergyModel",
    "GenerativeModel",
    "State",
    "check_fit",
    "load",
    "model_from_config",
    "save",
]
