"""Boltzmann machines and their relatives, with likelihoods that can be believed.

A public name is imported when it is first asked for, so that ``harmonium --help`` need not wait for
PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import (
        datasets,
        errors,
        estimators,
        features,
        likelihood,
        metrics,
        random,
        report,
        samplers,
        tables,
        training,
        units,
    )
    from .datasets import Dataset
    from .errors import HarmoniumError
    from .learning import (
        CD,
        PCD,
        RULES,
        TAP,
        Adversarial,
        CrossEntropy,
        DenoisingScoreMatching,
        Discriminative,
        ExactLikelihood,
        FastPCD,
        Hybrid,
        MultiPrediction,
        NoiseContrastive,
        ProbabilityFlow,
        Pseudolikelihood,
        RatioMatching,
        Reconstruction,
        ScoreMatching,
        TemperedPCD,
        TrajectoryTempering,
        VariationalPCD,
        WakeSleep,
    )
    from .likelihood import (
        LogLikelihood,
        LogPartition,
        conditional_log_likelihood,
        log_likelihood,
        log_partition,
    )
    from .measures import Measures, measure_samples
    from .models import (
        DBM,
        DBN,
        GAN,
        MLP,
        RBM,
        Autoencoder,
        BoltzmannMachine,
        load,
        local_mask,
        predict,
        predict_proba,
        random_mask,
        save,
    )
    from .random import Stream
    from .samplers import Gibbs, Imputed, Tempering, impute, sample
    from .training import History
    from .training.finetune import finetune
    from .training.fit import fit
    from .training.pretrain import pretrain
    from .training.resume import resume
    from .units import UNITS, Bernoulli, Categorical, Gaussian, Mixed, ReLU, Spin

__version__ = "0.1.0"

__all__ = [
    "CD",
    "DBM",
    "DBN",
    "GAN",
    "MLP",
    "PCD",
    "RBM",
    "RULES",
    "TAP",
    "UNITS",
    "Adversarial",
    "Autoencoder",
    "Bernoulli",
    "BoltzmannMachine",
    "Categorical",
    "CrossEntropy",
    "Dataset",
    "DenoisingScoreMatching",
    "Discriminative",
    "ExactLikelihood",
    "FastPCD",
    "Gaussian",
    "Gibbs",
    "HarmoniumError",
    "History",
    "Hybrid",
    "Imputed",
    "LogLikelihood",
    "LogPartition",
    "Measures",
    "Mixed",
    "MultiPrediction",
    "NoiseContrastive",
    "ProbabilityFlow",
    "Pseudolikelihood",
    "RatioMatching",
    "ReLU",
    "Reconstruction",
    "ScoreMatching",
    "Spin",
    "Stream",
    "TemperedPCD",
    "Tempering",
    "TrajectoryTempering",
    "VariationalPCD",
    "WakeSleep",
    "conditional_log_likelihood",
    "datasets",
    "errors",
    "estimators",
    "features",
    "finetune",
    "fit",
    "impute",
    "likelihood",
    "load",
    "local_mask",
    "log_likelihood",
    "log_partition",
    "measure_samples",
    "metrics",
    "predict",
    "predict_proba",
    "pretrain",
    "random",
    "random_mask",
    "report",
    "resume",
    "sample",
    "samplers",
    "save",
    "tables",
    "training",
    "units",
]

_ROOMS = {
    "datasets": ["Dataset"],
    "errors": ["HarmoniumError"],
    "learning": [
        "CD",
        "PCD",
        "RULES",
        "TAP",
        "Adversarial",
        "CrossEntropy",
        "DenoisingScoreMatching",
        "Discriminative",
        "ExactLikelihood",
        "FastPCD",
        "Hybrid",
        "MultiPrediction",
        "NoiseContrastive",
        "ProbabilityFlow",
        "Pseudolikelihood",
        "RatioMatching",
        "Reconstruction",
        "ScoreMatching",
        "TemperedPCD",
        "TrajectoryTempering",
        "VariationalPCD",
        "WakeSleep",
    ],
    "likelihood": [
        "LogLikelihood",
        "LogPartition",
        "conditional_log_likelihood",
        "log_likelihood",
        "log_partition",
    ],
    "measures": ["Measures", "measure_samples"],
    "models": [
        "DBM",
        "DBN",
        "GAN",
        "MLP",
        "RBM",
        "Autoencoder",
        "BoltzmannMachine",
        "load",
        "local_mask",
        "predict",
        "predict_proba",
        "random_mask",
        "save",
    ],
    "random": ["Stream"],
    "samplers": ["Gibbs", "Imputed", "Tempering", "impute", "sample"],
    "training": ["History", "finetune", "fit", "pretrain", "resume"],
    "units": ["UNITS", "Bernoulli", "Categorical", "Gaussian", "Mixed", "ReLU", "Spin"],
}
_HOMES = {name: room for room, names in _ROOMS.items() for name in names}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Import a public name, or a room, on its first use."""
        room = f"{__name__}.{_HOMES.get(name, name)}"
        try:
            value = import_module(room)
        except ModuleNotFoundError as error:
            if error.name != room:
                raise
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
        globals()[name] = value = getattr(value, name) if name in _HOMES else value
        return value

    def __dir__() -> list[str]:
        """List the public names, whether they have been imported or not."""
        return sorted({*globals(), *__all__})
