"""`dpnet plan`: what it prints, and its errors in one line."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from map_image_kit import image_of, small_network

from dpnet.host.cli import main
from dpnet.host.session import place_layers
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.devices import BOARDS
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import place
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.image import write_image
from dpnet.model.image.maps.writing import write_network
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.board.bytes_board import parse_url

CHIP = {"lut": 10_000, "lutram": 3_000, "ff": 20_000, "dsp": 50, "bram36": 3}


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


def convolutions():
    rng = np.random.default_rng(0)
    shapes = {"stem": (16, 3, 3, 3), "one": (16, 16, 1, 1), "fc": (10, 16)}
    made = compile_fp32(
        {
            name: (quantize(rng.standard_normal(shape).reshape(shape[0], -1), 4), shape)
            for name, shape in shapes.items()
        }
    )
    write_image(made, Path("conv.dpnet"))


def test_positions_of_an_images_convolutions(dpnet):
    convolutions()
    code, out, err = dpnet("conv.dpnet", "--positions", "1024", "--positions", "one=256", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [layer["positions"] for layer in document["layers"]] == [1024, 256, 1]
    once = json.loads(dpnet("conv.dpnet", "--positions", "1", "--json")[1])
    best, least = document["proposals"][0]["cycles"], once["proposals"][0]["cycles"]
    assert best > 1024 * 8 and best > 50 * least
    code, out, err = dpnet("conv.dpnet", "--positions", "stem=1024", "--positions", "one=1")
    assert "16 × 27 (K = 4) at 1,024 positions, 16 × 16 (K = 4), 10 × 16" in out
    assert "cycles, one input, all positions" in out
    same = json.loads(dpnet("--matrix", "16x27@1024", "--k", "4", "--json")[1])
    assert same["layers"] == [{"rows": 16, "columns": 27, "k": 4, "positions": 1024}]


def test_convolutions_without_their_positions(dpnet):
    convolutions()
    message = (
        "layer {} is a convolution, {}, which is computed at every position of its output: give "
        "height × width of that with --positions {}=N, or --positions N for all convolutions"
    )
    for given, name, shape in (
        ([], "stem", "16 × 3 × 3 × 3"),
        (["--positions", "stem=9"], "one", "16 × 16 × 1 × 1"),
    ):
        found = dpnet("conv.dpnet", *given)
        assert found == (2, "", f"dpnet: {message.format(name, shape, name)}\n")
    found = dpnet("conv.dpnet", "--positions", "head=9")
    assert found == (2, "", "dpnet: the image has no layer 'head'; there are stem, one, fc\n")


def test_the_most_negative_entry_needs_no_bit_more(dpnet):
    made = image("int8")
    layer = made.layers[0]
    low = np.full_like(layer.entries, -(1 << 15))
    layers = (replace(layer, entries=low), *made.layers[1:])
    replace(made, layers=layers).save("low.dpnet")
    document = json.loads(dpnet("low.dpnet", "--json")[1])
    assert document["proposals"][0]["engine"]["entry_bits"] == 16


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            ["--matrix", "2x2", "--positions", "4"],
            "--positions are those of an image's layers; --matrix takes RxC@N",
        ),
        (
            ["--matrix", "2x2@0"],
            "--matrix must be ROWSxCOLUMNS, at most 65536x4096, not '2x2@0'; see dpnet plan --help",
        ),
        (
            ["x.dpnet", "--positions", "a=b"],
            "--positions must be LAYER=N or N, N from 1 to 1048576, not 'a=b'; see dpnet plan "
            "--help",
        ),
        (
            ["--matrix", "4x4@9", "--matrix", "4x4", "--activation", "int8"],
            "a chain of integer layers runs one vector at a time, so its layers have one position "
            "each; plan one layer of a convolution alone, or with --activation fp32",
        ),
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


def map_image():
    made = image_of(small_network())
    write_network(made, Path("net.dpnet"))
    return made.network


def test_map_engines_for_a_whole_network(dpnet):
    network = map_image()
    code, out, err = dpnet("net.dpnet", "--board", "arty-a7-35t", "--json", "--count", 3)
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["device"] == {"name": "XC7A35T", **BOARDS["arty-a7-35t"].sizes}
    cycles = [one["cycles"] for one in document["proposals"]]
    assert len(cycles) == 3 and cycles == sorted(cycles)
    for one in document["proposals"]:
        engine = MapEngineParameters(**one["engine"])
        assert place(engine, network).plan.cycles == one["cycles"]
        parts = ("adds", "drains", "waits", "start", "end")
        assert sum(one[f"{part}_cycles"] for part in parts) == one["cycles"]
        assert one["pictures_per_second_at_100_mhz"] == pytest.approx(1e8 / one["cycles"])
        assert one["share"]["lut"] == one["lut"] / 20_800 <= 0.85


def test_map_engines_for_pictures_in_flight(dpnet):
    network = map_image()
    arguments = ("net.dpnet", "--in-flight", "--board", "arty-a7-35t")
    code, out, err = dpnet(*arguments, "--json")
    assert (code, err) == (0, "")
    proposals = json.loads(out)["proposals"]
    each = [one["cycles_per_picture"] for one in proposals]
    assert each == sorted(each)
    for one in proposals:
        engine = MapEngineParameters(**one["engine"])
        made = place(engine, network, True).plan
        assert (one["cycles"], one["in_flight"]) == (made.cycles, engine.stages)
        assert one["cycles_per_picture"] == made.cycles / engine.stages
        assert one["pictures_per_second_at_100_mhz"] == pytest.approx(
            1e8 / one["cycles_per_picture"]
        )
    code, out, err = dpnet(*arguments)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "XC7A35T: map engines for the whole network, in flight"
    first = lines[4].split()
    assert f"{each[0]:,.0f}" in first and f"{proposals[0]['cycles']:,}" in first
    assert "a run is of a picture in each stage" in out


def test_pictures_in_flight_are_those_of_map_engines(dpnet):
    message = "dpnet: --in-flight is for whole networks on a map engine\n"
    assert dpnet("--matrix", "10x10", "--in-flight") == (2, "", message)


def test_map_engines_for_an_ecp5(dpnet):
    network = map_image()
    code, out, err = dpnet("net.dpnet", "--board", "ulx3s", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["device"]["name"] == "LFE5U-85F"
    for one in document["proposals"]:
        engine = MapEngineParameters(**one["engine"])
        assert engine.multiplier == "18x18"
        assert place(engine, network).plan.cycles == one["cycles"]
        assert one["pictures_per_second_at_50_mhz"] == pytest.approx(5e7 / one["cycles"])
    text = dpnet("net.dpnet", "--board", "ulx3s")[1]
    assert "LUT4" in text and "MULT18X18D" in text and "DP16KD pairs" in text
    assert "pictures/s at 50 MHz" in text and "within 6 % of these" in text
    assert "multiplier=18x18" in text.splitlines()[-2], "as the board is built"


def test_a_map_engine_is_named_as_it_is_simulated(dpnet):
    network = map_image()
    code, out, err = dpnet("net.dpnet")
    assert (code, err) == (0, "")
    (line,) = [line for line in out.splitlines() if line.startswith("simulate it: ")]
    url = line.removeprefix("simulate it: --port ").strip("'")
    engine, _ = parse_url(url)
    assert out.splitlines()[-1].startswith("build it: make bitstream BOARD=… with the same text")
    first = out.splitlines()[4].split()
    assert f"{place(engine, network).plan.cycles:,}" in first
    assert first[:4] == [str(engine.clusters), "×", f"{engine.stages},", str(engine.streams)]


@pytest.mark.parametrize(
    "options, message",
    [
        (["--positions", "4"], "--positions and --repeated are for images of the array"),
        (["--repeated"], "--positions and --repeated are for images of the array"),
        (["--k", "4"], "--k and --activation are for --matrix; an image has its own"),
        (
            [f"--{kind}={size}" for kind, size in CHIP.items()],
            "no map engine for this network fits the chip: its stores alone are larger; use a "
            "larger chip, or fewer bits",
        ),
    ],
)
def test_what_is_not_planned_for_a_map_engine(dpnet, options, message):
    map_image()
    assert dpnet("net.dpnet", *options) == (2, "", f"dpnet: {message}\n")


def test_what_limits_the_layers(dpnet):
    network = map_image()
    code, out, err = dpnet("net.dpnet", "--board", "arty-a7-35t", "--layers", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    first = document["proposals"][0]
    made = place(MapEngineParameters(**first["engine"]), network).plan
    assert {one["name"]: one["cycles"] for one in document["layers"]} == made.layer_cycles()
    for one in document["layers"]:
        assert one["roofs"]["lanes"] + sum(one["lost"].values()) == pytest.approx(one["cycles"])
        assert one["reached"] == pytest.approx(one["roofs"][one["limit"]] / one["cycles"], abs=1e-3)
    code, out, err = dpnet("net.dpnet", "--board", "arty-a7-35t", "--layers")
    assert (code, err) == (0, "")
    table = out.partition("its layers:\n")[2]
    assert all(one["name"] in table and f"{one['cycles']:,}" in table for one in document["layers"])


@pytest.mark.parametrize("in_flight", [False, True])
def test_what_limits_the_layers_on_an_engine_of_ones_own(dpnet, in_flight):
    network = map_image()
    sizes = "maps?clusters=3&stages=4"
    arguments = ("net.dpnet", "--engine", sizes, *(["--in-flight"] if in_flight else []))
    code, out, err = dpnet(*arguments, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    made = place(MapEngineParameters(clusters=3, stages=4), network, in_flight).plan
    assert (document["cycles"], document["in_flight"]) == (made.cycles, made.pictures)
    assert document["cycles_per_picture"] == made.cycles / made.pictures
    assert sum(one["cycles"] for one in document["layers"]) == made.cycles
    code, out, err = dpnet(*arguments)
    shared = " of 4 pictures in flight" if in_flight else " a picture"
    assert out.splitlines()[0] == f"3 × 4, 192 lanes: {made.cycles:,} cycles{shared}"


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        ("array", "--engine must be maps or maps?NAME=N&NAME=N, not 'array'"),
        ("maps?cluster=4", "--engine must be maps with sizes of clusters, stages, "),
        ("maps?clusters=four", "--engine must be maps with whole numbers, not clusters='four'"),
        ("maps?index_depth=8", "the network is larger than the engine: index_depth 8 (it needs "),
    ],
)
def test_engines_that_are_none(dpnet, engine, message):
    map_image()
    code, out, err = dpnet("net.dpnet", "--engine", engine)
    assert (code, out) == (2, "") and err.startswith(f"dpnet: {message}") and err.count("\n") == 1


@pytest.mark.parametrize("option", [["--layers"], ["--engine", "maps"]])
def test_layers_are_those_of_whole_networks(dpnet, option):
    message = f"dpnet: {option[0]} is for whole networks on a map engine\n"
    assert dpnet("--matrix", "10x10", *option) == (2, "", message)
