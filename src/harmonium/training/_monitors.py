"""The monitor of each family of models."""

from __future__ import annotations

__all__ = ["monitor"]

from typing import Any

from ..models import DBN, GAN, MLP, Autoencoder, Model, PairwiseModel
from ._adversarial_monitor import AdversarialMonitor
from ._feedforward_monitor import AutoencoderMonitor, ClassifierMonitor
from ._monitor import EnergyMonitor, Monitor
from ._network_monitor import NetworkMonitor
from ._options import Options
from ._source import Opened

_FAMILIES: dict[type[Any], type[Monitor]] = {
    PairwiseModel: EnergyMonitor,
    DBN: NetworkMonitor,
    GAN: AdversarialMonitor,
    MLP: ClassifierMonitor,
    Autoencoder: AutoencoderMonitor,
}


def monitor(model: Model, opened: Opened, options: Options) -> Monitor:
    """Return the monitor of a run."""
    kind = next(kind for family, kind in _FAMILIES.items() if isinstance(model, family))
    return kind(opened.train, opened.validation, options, opened.states)
