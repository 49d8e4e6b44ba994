"""Nets that turn images into features, for :mod:`harmonium.metrics` to compare.

A distance between images says little before it is one between features. Three kinds are here, for images of
one to four channels and any side from 8 pixels on:

* a :class:`Classifier` of the data's own labels, trained in a minute or two by :func:`classifier_for` and
  kept in the cache; its features know what tells the classes apart, and its predictions count them;
* :class:`RandomFeatures`, nets with random weights that are a function of a seed, the same on every machine;
  they know textures, and no data have shaped them;
* :class:`Inception`, where a user brings its weights. What is measured on it is called FID; nothing else is.

Numbers on features of one kind cannot be compared with those on another. A classifier is told by its seed
and the hash of its weights.
"""

from __future__ import annotations

__all__ = [
    "Classifier",
    "Images",
    "Inception",
    "RandomFeatures",
    "class_codes",
    "class_names",
    "classifier_for",
    "images_of",
    "rows_as_images",
    "suits_nets",
    "train_classifier",
    "training_images",
    "white",
]

from ._cached import class_codes, class_names, classifier_for
from ._classifier import Classifier, train_classifier
from ._images import Images, images_of, rows_as_images, suits_nets, training_images, white
from ._inception import Inception
from ._random import RandomFeatures
