r"""Estimators for scikit-learn: pipelines, grid searches and clones of the models of this library.

All are thin. What they take is an array, a frame or a sparse matrix of shape (rows, columns); what they keep
is the trained model itself, ``model_``, for ``hm.save``, ``hm.sample`` and whatever else the library can do
with it.

``visible`` says what the columns are:

* ``bernoulli``: 0 and 1, or values between them, which are taken as means;
* ``gaussian``: real numbers, which are standardised, column by column, by the rows of the fit; a column that
  never varies is only centred. What was done is in ``model_.transform``, and densities are those of the rows
  as they came;
* ``spin``: -1 and 1;
* a layer of units, such as ``hm.Categorical(9, 4)`` or an ``hm.Mixed`` one: rows are taken as they are;
* ``auto``, the default: ``bernoulli`` if the rows of the fit allow for it, else ``gaussian``.

Sparse rows are made dense, those of 0 and 1 in a byte for each value. ``learning_rate`` and ``batch_size``
are the fit's ``lr`` and ``batch_size``, ``n_iter`` its ``epochs``; ``options`` has whatever else
:class:`harmonium.training.Options` knows. ``random_state`` seeds everything: with the same integer the same
rows give the same estimator. Models are trained on ``device`` in single precision, and kept on the CPU in
double precision, so that what is made of a row does not depend on the rows beside it. Nothing is printed
unless ``verbose`` is set.
"""

from ._bernoulli import BernoulliRBM
from ._classifiers import DBMClassifier, DBNClassifier, RBMClassifier
from ._density import RBMDensity
from ._gan import GANSampler
from ._imputer import RBMImputer
from ._transformers import DBNTransformer, RBMTransformer

__all__ = [
    "BernoulliRBM",
    "DBMClassifier",
    "DBNClassifier",
    "DBNTransformer",
    "GANSampler",
    "RBMClassifier",
    "RBMDensity",
    "RBMImputer",
    "RBMTransformer",
]
