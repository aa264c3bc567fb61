"""The exact quantizer as a scikit-learn estimator of one feature.

    from dpnet.model.quantizer.estimator import OptimalKMeans1D

    clusters = OptimalKMeans1D(n_clusters=4).fit(lengths[:, None])
    clusters.cluster_centers_, clusters.labels_, clusters.inertia_, clusters.predict([[7.5]])

It is the only module here, with `lloyd`, that imports scikit-learn.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    ClusterMixin,
    TransformerMixin,
)
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from dpnet.model.quantizer.exact import quantize
from dpnet.model.quantizer.task import Lattice

Floats = NDArray[np.float64]


class OptimalKMeans1D(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """The best clusters of numbers, in the place of `sklearn.cluster.KMeans`.

    `fit` finds an optimum, not a local one: nothing is drawn at random, there is no start, no
    `n_init` and no iteration. X is (n_samples, 1); more features are a ValueError.

    Parameters
    ----------
    n_clusters : 1 to 65,536; fewer come out where X has fewer different values of weight
    norm : 2 for k-means, 1 for k-medians
    zero : one center is exactly 0
    symmetric : the centers are their own negatives
    lattice : centers are whole multiples of a step, see `Lattice` of
        `dpnet.model.quantizer.task`

    Attributes
    ----------
    cluster_centers_ : (n, 1), n up to `n_clusters`, ascending
    labels_ : (n_samples,) int32, the nearest center of each sample, the lower of two as near
    inertia_ : sum of ``weight * |x - center| ** norm``, the least there is
    n_features_in_ : 1
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        norm: Literal[1, 2] = 2,
        zero: bool = False,
        symmetric: bool = False,
        lattice: Lattice | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.norm = norm
        self.zero = zero
        self.symmetric = symmetric
        self.lattice = lattice

    def fit(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> OptimalKMeans1D:
        """Find the centers of X; `y` is ignored. ValueError for what `quantize` refuses."""
        values = self._values(X, reset=True)
        weights = None if sample_weight is None else _weights(sample_weight, values)
        found = quantize(
            values,
            self.n_clusters,
            self.norm,
            weights=weights,
            zero=self.zero,
            symmetric=self.symmetric,
            lattice=self.lattice,
        )
        self.cluster_centers_ = found.codebook[: int(found.k_eff), None]
        self.labels_ = self._nearest(values)
        self.inertia_ = float(found.cost)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.int32]:
        """The index of the nearest center of each sample, the lower of two as near."""
        check_is_fitted(self)
        return self._nearest(self._values(X))

    def transform(self, X: ArrayLike) -> Floats:
        """(n_samples, centers): the distance of each sample to each center."""
        check_is_fitted(self)
        return np.abs(self._values(X)[:, None] - self.cluster_centers_[:, 0])

    def score(
        self, X: ArrayLike, y: object = None, sample_weight: ArrayLike | None = None
    ) -> float:
        """What `inertia_` would be of X, negative: larger is better."""
        check_is_fitted(self)
        values = self._values(X)
        weights = 1.0 if sample_weight is None else _weights(sample_weight, values)
        distance = np.abs(values - self.cluster_centers_[self._nearest(values), 0])
        return -float(np.sum(weights * distance**self.norm))

    def _nearest(self, values: Floats) -> NDArray[np.int32]:
        centers = self.cluster_centers_[:, 0]
        above = np.clip(np.searchsorted(centers, values), 1, max(len(centers) - 1, 1))
        below = above - 1
        above = np.minimum(above, len(centers) - 1)
        with np.errstate(over="ignore"):  # signed: beyond an end one is negative
            nearer = centers[above] - values < values - centers[below]
        return np.where(nearer, above, below).astype(np.int32)

    def _values(self, X: ArrayLike, reset: bool = False) -> Floats:
        """The feature, (n_samples,) float64."""
        if np.ma.is_masked(X):
            raise ValueError("X must have no masked entries: fill them, with sample_weight 0")
        return self._feature(validate_data(self, X, reset=reset, dtype=np.float64))

    def _feature(self, X: Floats) -> Floats:
        """The only one; ValueError where there are more."""
        if X.shape[1] != 1:
            raise ValueError(f"X must have 1 feature, not {X.shape[1]} features")
        return np.ascontiguousarray(X[:, 0])

    @property
    def _n_features_out(self) -> int:
        """For the names of what `transform` returns."""
        return len(self.cluster_centers_)

    def __sklearn_tags__(self) -> Tags:
        tags: Any = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # distances are float64
        return tags


def _weights(sample_weight: ArrayLike, values: Floats) -> Floats:
    """Checked weights, (n_samples,)."""
    weights = check_array(
        sample_weight, dtype=np.float64, ensure_2d=False, input_name="sample_weight"
    )
    if weights.shape != values.shape:
        raise ValueError(f"sample_weight must be {values.shape!r}, not {weights.shape!r}")
    if (weights < 0).any():
        raise ValueError(f"sample_weight must be 0 or more, not {weights.min()}")
    if not weights.any():
        raise ValueError("sample_weight must not be zero for every sample")
    found: NDArray[np.float64] = weights
    return found
