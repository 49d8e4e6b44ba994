"""The table of measures: what its columns mean, and what has to be said of it."""

from __future__ import annotations

__all__ = ["MEASURES", "Measures"]

from dataclasses import dataclass
from typing import Any

MEASURES = {
    "frechet": "squared Frechet distance",
    "kernel": "squared kernel distance, times 1,000",
    "kernel_error": "its standard error over subsets",
    "precision": "share of rows among the data (k = 3)",
    "recall": "share of the data among rows (k = 3)",
    "density": "how densely the data surround rows (k = 5)",
    "coverage": "share of the data with a row near (k = 5)",
    "classifier": "accuracy of a logistic regression that tells rows from data; 0.5 is best",
    "classifier_p": "probability of such an accuracy by chance",
    "neighbours": "AA_TS, nearest-neighbour adversarial accuracy; 0.5 is best",
    "random_frechet": "squared Frechet distance, mean over five random nets",
    "random_frechet_deviation": "standard deviation over these nets",
    "random_kernel": "squared kernel distance, times 1,000, mean over five random nets",
    "random_kernel_deviation": "standard deviation over these nets",
    "class_kl": "KL of the classes, from the training rows' shares",
    "class_kl_floor": "what a perfect sampler has on average",
    "class_variation": "total variation of the classes from the training rows' shares",
    "modes": "classes that have a row",
    "modes_floor": "what a perfect sampler has on average",
    "gan_train": "accuracy on held-out rows of a classifier that has learned from rows and their labels",
    "gan_train_error": "its standard error over rows",
    "gan_test": "share of rows that the data's classifier gives the label they were made for",
    "gan_test_error": "its standard error over rows",
    "memorised": "share of rows nearer to training rows than to held-out ones, on a random net; 0.5 is best",
    "memorised_error": "its standard error, if rows are no more alike than data",
    "parzen": "Parzen log-likelihood, nats per row; not a measure to rank models by",
    "parzen_error": "its standard error over held-out rows",
    "fid": "Frechet distance on Inception's features: FID",
}
"""The columns, and what each means."""


@dataclass(frozen=True)
class Measures:
    """The measures of samples, with those of a floor and of a ceiling.

    Arguments:
        rows: For each row of the table, by its name, the measures by theirs.
        n: How many rows each of them is about, and how many they are held against.
        about: What the numbers depend on: data, binarisation, seeds, features.
    """

    rows: dict[str, dict[str, float]]
    n: int
    about: dict[str, Any]

    @property
    def samples(self) -> dict[str, float]:
        """The measures of the samples."""
        return self.rows["samples"]

    @property
    def note(self) -> str:
        """One sentence with what the numbers depend on."""
        about, classifier = self.about, self.about.get("classifier")
        how = f" ({about['binarisation']})" if about["binarisation"] else ""
        told = (
            f"{self.n:,} rows each, against as many test rows of {about['data']}{how}; seed {about['seed']}"
        )
        told += f"; features: {about['features']}"
        if classifier is not None:
            accuracy = "unknown" if classifier["accuracy"] is None else f"{classifier['accuracy']:.2%}"
            told += f" {classifier['sha256']} of seed {classifier['seed']}, validation accuracy {accuracy}"
        weights = about.get("weights")
        return f"{told}." if weights is None else f"{told}; weights: {weights}."

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {"n": self.n, "about": self.about, "rows": self.rows}

    def __str__(self) -> str:
        columns = dict.fromkeys(column for row in self.rows.values() for column in row)
        width = max(map(len, columns))
        lines = [" ".join([f"{'':{width}}", *(f"{name:>12}" for name in self.rows)])]
        for column in columns:
            cells = (f"{row[column]:12.4g}" if column in row else f"{'':12}" for row in self.rows.values())
            lines.append(" ".join([f"{column:{width}}", *cells]))
        return "\n".join([*lines, self.note])
