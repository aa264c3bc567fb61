"""`dpnet plan`: what it prints, and its errors in one line."""

import json
from pathlib import Path

import numpy as np
import pytest

from dpnet.host.cli import main
from dpnet.host.session import place_layers
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.devices import BOARDS
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.image import write_image
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.board.bytes_board import parse_url


@pytest.fixture
def dpnet(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main(["plan", *map(str, arguments)])
        return (code, *capfd.readouterr())

    return call


def image(kind):
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((9, 12)), rng.standard_normal((4, 9))
    if kind == "fp32":
        weights = {"a": first, "b": second}
        made = compile_fp32({name: (quantize(w, 8), w.shape) for name, w in weights.items()})
    else:
        made = compile_integer(
            [
                DenseLayer("a", quantize(first, 16), np.zeros(9), relu=True),
                DenseLayer("b", quantize(second, 16), np.zeros(4), relu=False),
            ],
            rng.standard_normal((20, 12)),
        )
    write_image(made, Path("net.dpnet"))
    return made


@pytest.mark.parametrize("kind", ["fp32", "int8"])
def test_an_image_fits_the_stores_of_every_proposal(dpnet, kind):
    made = image(kind)
    code, out, err = dpnet("net.dpnet", "--board", "arty-z7-20", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["activation"] == kind
    assert document["device"] == {"name": "XC7Z020", **BOARDS["arty-z7-20"].sizes}
    assert len(document["proposals"]) == 5
    for one in document["proposals"]:
        engine = EngineParameters(**one["engine"])
        assert [placed.streamed for placed in place_layers(made, engine)] == [False, False]
        assert one["lanes"] == engine.lanes
        assert one["us_at_100_mhz"] == one["cycles"] / 100
        assert one["share"]["lut"] == one["lut"] / 53_200


def test_the_table_names_an_engine_that_can_be_simulated(dpnet):
    code, out, err = dpnet("--matrix", "9x12", "--k", "4", "--activation", "int8", "--count", "2")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "XC7Z045, int8: 9 × 12 (K = 4)"
    assert lines[2].split()[-1] == "binds" and len(lines[4:6]) == 2
    url = lines[-1].removeprefix("simulate it: --port '").removesuffix("'")
    params, _ = parse_url(url)
    shape = f"{params.stages} × {params.columns} × {params.segments} "
    assert lines[4].startswith(shape) and params.edges == "integer"


def test_another_chip_is_given_by_its_sizes(dpnet):
    sizes = ["--lut", 9000, "--lutram", 3000, "--ff", 30000, "--dsp", 40, "--bram36", 60]
    code, out, _ = dpnet("--matrix", "9x12", *sizes, "--repeated", "--json")
    document = json.loads(out)
    assert code == 0 and document["repeated"]
    assert all(one["lut"] <= 0.85 * 9000 for one in document["proposals"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "an IMAGE or a --matrix must be given, and not both; see dpnet plan --help"),
        (
            ["net.dpnet", "--matrix", "2x2"],
            "an IMAGE or a --matrix must be given, and not both; see dpnet plan --help",
        ),
        (["net.dpnet", "--k", 4], "--k and --activation are for --matrix; an image has its own"),
        (
            ["--matrix", "2x"],
            "--matrix must be ROWSxCOLUMNS, at most 65536x4096, not '2x'; see dpnet plan --help",
        ),
        (
            ["--matrix", "2x4097"],
            "--matrix must be ROWSxCOLUMNS, at most 65536x4096, not "
            "'2x4097'; see dpnet plan --help",
        ),
        (
            ["--matrix", "2x2", "--lut", 5, "--ff", 5],
            "another chip needs all of its sizes: --lutram, --dsp, --bram36 missing",
        ),
        (
            ["--matrix", "2x2", "--matrix", "2x2", "--repeated"],
            "--repeated takes a network of one layer, not of 2",
        ),
        (
            ["--matrix", "2000x4096"],
            "no engine for this network fits the XC7Z045: its indices "
            "alone take at least 1,000 of 545 block RAMs; use a larger chip, fewer layers at a "
            "time, or fewer values per row",
        ),
        (["none.dpnet"], "none.dpnet: cannot be read: No such file or directory"),
    ],
)
def test_errors_are_one_line(dpnet, arguments, message):
    assert dpnet(*arguments) == (2, "", f"dpnet: {message}\n")
