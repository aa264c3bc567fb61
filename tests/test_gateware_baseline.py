"""The fp32 baseline cores: bench against their golden models; what they refuse."""

import pytest

from dpnet.gateware.baselines.paper import BaselineCore
from dpnet.gateware.emit import emit
from dpnet.model.engine.baseline import BaselineParameters, InterleavedParameters
from dpnet.sim.benches.baselines.baseline_core import KINDS
from dpnet.sim.kit.bench import rounds, run_bench

SIZES = {"weights": 700, "columns": 40, "rows": 12, "layers": 5}


@pytest.mark.whole
@pytest.mark.parametrize(
    "kind", [BaselineParameters, pytest.param(InterleavedParameters, marks=pytest.mark.long)]
)
def test_baseline_bench(kind):
    core = BaselineCore(params=kind(**SIZES))
    values = {"sizes": SIZES, "runs": rounds(25), "interleaved": kind is InterleavedParameters}
    assert run_bench(emit(core), "baselines.baseline_core", values=values) == len(KINDS) + 4


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", [0, (1 << 24) + 1, 1.5])
@pytest.mark.parametrize("kind", [BaselineParameters, InterleavedParameters])
def test_sizes_refuse(kind, name, value):
    with pytest.raises(ValueError) as caught:
        kind(**{name: value})
    assert str(caught.value) == f"{name} must be an integer from 1 to 2^24, not {value!r}"


@pytest.mark.parametrize("rows, columns, milliseconds", [(1000, 1024, 61.5), (384, 1728, 39.8)])
def test_cycles_are_the_papers(rows, columns, milliseconds):
    assert BaselineParameters.cycles(rows, columns) / 1e5 == pytest.approx(milliseconds, abs=0.1)


def test_interleaved_cycles_are_the_weights_and_a_constant():
    assert InterleavedParameters.cycles(1000, 1024) == 1_024_050
    assert InterleavedParameters.cycles(384, 1728) == 663_602
    assert InterleavedParameters.cycles(7, 3) == 21 + 3 + 42
