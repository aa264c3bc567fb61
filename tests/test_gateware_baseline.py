"""The baseline core: bench against sequential fp32; what it refuses."""

import pytest

from gateware.baseline import BaselineCore
from gateware.emit import emit
from model.baseline import BaselineParameters
from sim.bench import run_bench

SIZES = {"weights": 700, "columns": 40, "rows": 12, "layers": 5}


def test_baseline_bench():
    core = BaselineCore(params=BaselineParameters(**SIZES))
    assert run_bench(emit(core), "baseline_core", values={"sizes": SIZES, "runs": 25}) == 6


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, (1 << 24) + 1, 1.5])
def test_sizes_refuse(name, value):
    with pytest.raises(ValueError) as caught:
        BaselineParameters(**{name: value})
    assert str(caught.value) == f"{name} must be an integer from 1 to 2^24, not {value!r}"


@pytest.mark.parametrize("rows, columns, milliseconds", [(1000, 1024, 61.5), (384, 1728, 39.8)])
def test_cycles_are_the_papers(rows, columns, milliseconds):
    assert BaselineParameters.cycles(rows, columns) / 1e5 == pytest.approx(milliseconds, abs=0.1)
