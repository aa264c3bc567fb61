"""The estimator under scikit-learn's own checks, and beside its KMeans."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
from waiting_kit import PATIENCE_S

from dpnet.model.quantizer.estimator import OptimalKMeans1D
from dpnet.model.quantizer.rows import Lattice

SEED = int(os.environ.get("SEED", "5"))

SEVERAL_FEATURES = {
    "check_fit_score_takes_y",
    "check_estimators_overwrite_params",
    "check_dont_overwrite_parameters",
    "check_estimators_fit_returns_self",
    "check_readonly_memmap_input",
    "check_n_features_in_after_fitting",
    "check_positive_only_tag_during_fit",
    "check_estimators_dtypes",
    "check_sample_weights_not_an_array",
    "check_sample_weights_list",
    "check_all_zero_sample_weights_error",
    "check_sample_weights_shape",
    "check_sample_weights_not_overwritten",
    "check_sample_weight_equivalence_on_dense_data",
    "check_dtype_object",
    "check_pipeline_consistency",
    "check_estimators_nan_inf",
    "check_estimators_pickle",
    "check_f_contiguous_array_estimator",
    "check_transformer_data_not_an_array",
    "check_transformer_general",
    "check_clustering",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
    "check_fit2d_1sample",
    "check_dict_unchanged",
    "check_fit_idempotent",
    "check_fit_check_is_fitted",
    "check_n_features_in",
    "check_fit2d_predict1d",
}


class FirstFeature(OptimalKMeans1D):
    """The same, but of several features it takes the first, as the checks hand it several."""

    def _feature(self, X: np.ndarray) -> np.ndarray:
        return super()._feature(X[:, :1])


@pytest.mark.whole
@pytest.mark.parametrize(
    "estimator", [FirstFeature(), FirstFeature(3, norm=1), FirstFeature(4, zero=True)]
)
def test_every_check_of_scikit_learn_but_for_the_number_of_features(estimator) -> None:
    results = check_estimator(estimator, on_skip=None)  # raises what a check raises
    assert sum(r["status"] == "passed" for r in results) >= 50
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert skipped <= {"check_sample_weights_pandas_series", "check_array_api_input"}


def test_checks_of_the_estimator_itself_fail_only_where_they_hand_it_several_features() -> None:
    reason = "X has several features"
    results = check_estimator(
        OptimalKMeans1D(),
        expected_failed_checks=dict.fromkeys(SEVERAL_FEATURES, reason),
        on_skip=None,
    )
    failed = [r for r in results if r["status"] == "xfail"]
    assert {r["check_name"] for r in failed} == SEVERAL_FEATURES
    for result in failed:
        error = result["exception"]
        while error.__cause__ or error.__context__:
            error = error.__cause__ or error.__context__
        assert "X must have 1 feature, not" in str(error), result["check_name"]
    assert sum(r["status"] == "passed" for r in results) >= 15


def enumerated(values: np.ndarray, weights: np.ndarray, k: int, norm: int) -> float:
    """The least cost over all intervals of the sorted values."""
    order = np.argsort(values)
    x, w = values[order], weights[order]

    def cost(start: int, stop: int) -> float:
        part, heavy = x[start:stop], w[start:stop]
        if norm == 2:
            return float(heavy @ (part - np.average(part, weights=heavy)) ** 2)
        return min(float(heavy @ np.abs(part - center)) for center in part)

    return min(
        sum(cost(a, b) for a, b in zip((0, *breaks), (*breaks, len(x)), strict=True))
        for breaks in combinations(range(1, len(x)), k - 1)
    )


@pytest.mark.parametrize("norm", [1, 2])
def test_inertia_is_the_least_of_all_partitions(norm: int) -> None:
    random = np.random.default_rng(SEED)
    for k in (1, 2, 3, 4):
        values, weights = random.normal(size=11), random.uniform(0.1, 3, 11)
        fitted = OptimalKMeans1D(k, norm=norm).fit(values[:, None], sample_weight=weights)
        assert fitted.inertia_ == pytest.approx(enumerated(values, weights, k, norm), rel=1e-12)
        assert fitted.score(values[:, None], sample_weight=weights) == pytest.approx(
            -fitted.inertia_, rel=1e-12
        )


def test_never_above_kmeans_and_the_same_attributes() -> None:
    random = np.random.default_rng(SEED)
    X = np.concatenate([random.normal(c, 0.2, 60) for c in (-3, 0, 0.7, 4)])[:, None]
    ours, theirs = OptimalKMeans1D(7).fit(X), KMeans(7, n_init=10, random_state=0).fit(X)
    assert ours.inertia_ <= theirs.inertia_ * (1 + 1e-12)
    for name in ("cluster_centers_", "labels_"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.shape == other.shape and mine.dtype == other.dtype
    assert ours.transform(X).shape == theirs.transform(X).shape
    assert ours.n_features_in_ == 1
    distances = ours.transform(X)
    assert np.array_equal(distances.argmin(axis=1), ours.labels_)
    assert (distances.min(axis=1) ** 2).sum() == pytest.approx(ours.inertia_, rel=1e-12)
    assert np.array_equal(ours.predict(X), ours.labels_)
    assert np.array_equal(clone(ours).fit_predict(X), ours.labels_)
    assert list(ours.get_feature_names_out()) == [f"optimalkmeans1d{i}" for i in range(7)]


def test_a_sample_goes_to_the_nearest_center_and_to_the_lower_of_two_as_near() -> None:
    fitted = OptimalKMeans1D(3).fit([[0.0], [0.0], [4.0], [10.0]])
    assert fitted.cluster_centers_.tolist() == [[0.0], [4.0], [10.0]]
    new = [[-1e308], [1.9], [2.0], [2.1], [7.0], [7.1], [1e308]]
    assert fitted.predict(new).tolist() == [0, 0, 0, 1, 1, 2, 2]
    wide = OptimalKMeans1D(2).fit([[-1.7e308], [1.7e308]])
    assert wide.predict([[-1e308], [1e300], [1e308]]).tolist() == [0, 1, 1]


def test_centers_that_are_restricted() -> None:
    X = np.random.default_rng(SEED).normal(0.3, 1, (300, 1))
    assert 0.0 in OptimalKMeans1D(4, zero=True).fit(X).cluster_centers_
    mirrored = OptimalKMeans1D(5, symmetric=True).fit(X).cluster_centers_
    assert np.array_equal(mirrored, -mirrored[::-1])
    whole = OptimalKMeans1D(4, lattice=Lattice(4, 0.25)).fit(X)
    assert np.array_equal(whole.cluster_centers_ % 0.25, np.zeros((4, 1)))
    assert np.array_equal(whole.predict(X), whole.labels_)


def test_fewer_different_values_than_clusters() -> None:
    fitted = OptimalKMeans1D(8).fit([[2.0], [1.0], [2.0]])
    assert fitted.cluster_centers_.tolist() == [[1.0], [2.0]] and fitted.inertia_ == 0
    assert OptimalKMeans1D().fit([[3.0]]).predict([[-5.0], [9.0]]).tolist() == [0, 0]


def test_in_a_pipeline_and_a_search() -> None:
    X = np.tile([[0.0], [1.0], [5.0]], (40, 1))
    X += np.random.default_rng(SEED).normal(0, 0.01, X.shape)
    pipeline = make_pipeline(StandardScaler(), OptimalKMeans1D())
    search = GridSearchCV(pipeline, {"optimalkmeans1d__n_clusters": [1, 2, 3]}, cv=3).fit(X)
    assert search.best_params_ == {"optimalkmeans1d__n_clusters": 3}


def test_what_it_refuses() -> None:
    X = [[1.0], [2.0]]
    with pytest.raises(ValueError, match=r"^X must have 1 feature, not 2 features$"):
        OptimalKMeans1D().fit([[1.0, 2.0]])
    with pytest.raises(ValueError, match=r"^Expected 2D array, got 1D array instead"):
        OptimalKMeans1D().fit([1.0, 2.0])
    with pytest.raises(ValueError, match=r"^Input X contains NaN"):
        OptimalKMeans1D().fit([[1.0], [np.nan]])
    with pytest.raises(ValueError, match=r"^k must be in 1..65536, not 0$"):
        OptimalKMeans1D(0).fit(X)
    with pytest.raises(ValueError, match=r"^norm must be 1 or 2, not 3$"):
        OptimalKMeans1D(norm=3).fit(X)
    with pytest.raises(NotFittedError):
        OptimalKMeans1D().predict(X)
    for weights, message in [
        ([1.0], r"^sample_weight must be \(2,\), not \(1,\)$"),
        ([1.0, -2.0], r"^sample_weight must be 0 or more, not -2.0$"),
        ([0.0, 0.0], r"^sample_weight must not be zero for every sample$"),
    ]:
        with pytest.raises(ValueError, match=message):
            OptimalKMeans1D().fit(X, sample_weight=weights)


def test_the_quantizer_alone_does_not_load_scikit_learn() -> None:
    code = "import sys, dpnet.model.quantizer.exact; print('sklearn' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    assert found.stdout.strip() == "False"
