"""The dense int8 engine: parts and core against golden, exact cycles; what it refuses."""

import pytest

from dpnet.gateware.baselines.dense import DenseCore
from dpnet.gateware.baselines.dense_mac import DenseMac
from dpnet.gateware.emit import emit
from dpnet.model.engine.dense import DenseParameters
from dpnet.sim.benches.baselines.dense_core import KINDS
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.measure.dense import main, run_dense

SMALL = {"weight_depth": 60, "vector_depth": 70, "tiles": 6, "result_tiles": 30}
ENGINES = {
    "even": {"tile_rows": 4, "segments": 8, "requantizers": 2, "max_columns": 64},
    "odd": {"tile_rows": 6, "segments": 5, "requantizers": 3, "max_columns": 47},
    # More rows than beats for one requantizer: the tiles wait for the results.
    "slow": {"tile_rows": 10, "segments": 3, "requantizers": 1, "max_columns": 24},
    "one": {"tile_rows": 2, "segments": 1, "requantizers": 4, "max_columns": 9},
}


def test_mac_is_exact():
    assert run_bench(emit(DenseMac()), "baselines.dense_mac", values={"count": rounds(20_000)}) == 1


@pytest.mark.whole
@pytest.mark.parametrize(
    "name", ["slow", *(pytest.param(n, marks=pytest.mark.long) for n in ("even", "odd", "one"))]
)
def test_core_equals_golden(name):
    params = SMALL | ENGINES[name]
    core = DenseCore(params=DenseParameters(**params))
    values = {"params": params, "runs": rounds(12)}
    assert run_bench(emit(core), "baselines.dense_core", values=values) == len(KINDS) + 2


@pytest.mark.long
def test_run_measures_the_formula():
    params = DenseParameters(**SMALL | ENGINES["even"])
    found = run_dense(21, 47, params, 4, seed=1)
    # 6 tiles of 6 beats; 10 requantize, 3 in the tree, 7 registers, 2 steps.
    assert found == {
        "latency_cycles": 58,
        "run_cycles": 58 + 3 * 36,
        "interval_cycles": 36,
        "predicted_latency": 58,
        "predicted_interval": 36,
        "predicted_run": 166,
        "results": 84,
        "mismatches": 0,
    }


def test_core_refuses():
    with pytest.raises(TypeError) as caught:
        DenseCore(params=SMALL)
    assert str(caught.value) == f"params must be DenseParameters, not {SMALL!r}"


def test_run_refuses():
    params = DenseParameters(**SMALL | ENGINES["even"])
    with pytest.raises(ValueError, match=r"^vectors must be at least 2, not 1$"):
        run_dense(21, 47, params, 1, seed=1)
    message = r"^21 × 65 with 2 vectors needs 65 columns, there is room for 64$"
    with pytest.raises(ValueError, match=message):
        run_dense(21, 65, params, 2, seed=1)


@pytest.mark.whole
def test_command(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--tile-rows", "3"])
    assert caught.value.code == 2
    assert "tile_rows must be even, not 3" in capsys.readouterr().err
    small = [
        "--rows",
        "5",
        "--columns",
        "9",
        "--vectors",
        "3",
        "--tile-rows",
        "2",
        "--segments",
        "2",
    ]
    assert main(small) == 0
    printed = capsys.readouterr().out
    assert "2 rows x 2 segments = 4 multiply-adds per cycle, 5 x 9, 3 vectors, seed 0" in printed
    assert "interval_cycles: 15\n" in printed and "mismatches: 0\n" in printed
