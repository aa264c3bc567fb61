"""The golden fp32 layer: more exact than a sequential fp32 dot product, at the paper's sizes."""

import numpy as np
import pytest

from dpnet.model.golden.bound import error_bound
from dpnet.model.golden.fp32 import SequentialFp32
from dpnet.model.golden.network import fp32_layer
from dpnet.model.image import ImageLayer


@pytest.mark.parametrize("shape", [(1000, 1024), (384, 1728)])
@pytest.mark.parametrize("kind", ["gaussian", "after-relu"])
@pytest.mark.parametrize("seed", [0, 1])
def test_rms_error_is_below_sequential_fp32_and_no_error_above_the_bound(shape, kind, seed):
    rng = np.random.default_rng(seed)
    rows, columns = shape
    codebook = rng.standard_normal((rows, 16)).astype(np.float32)
    indices = rng.integers(0, 16, shape).astype(np.uint8)
    x = rng.standard_normal(columns).astype(np.float32)
    if kind == "after-relu":
        x = np.maximum(x, 0)
    layer = ImageLayer(name="w", shape=shape, indices=indices, k=16, codebook=codebook)
    weights = np.take_along_axis(codebook, indices.astype(np.intp), 1)
    exact = weights.astype(np.float64) @ x.astype(np.float64)
    error = fp32_layer(layer, x).astype(np.float64) - exact
    sequential = SequentialFp32().compute(weights, x).astype(np.float64) - exact
    assert np.sqrt((error**2).mean()) < np.sqrt((sequential**2).mean())
    assert (np.abs(error) <= error_bound(codebook, indices, x)).all()
