"""Images on an engine: what fits, what is refused, and a small engine that equals golden."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from dpnet.gateware.registers import identity
from dpnet.host.driver import Driver
from dpnet.host.errors import EngineError
from dpnet.host.link import Link
from dpnet.host.session import (
    BaselineSession,
    CapacityError,
    Parameters,
    Session,
    connect,
    parameters,
    place_layers,
    segments,
)
from dpnet.model.compile import DenseLayer, compile_fp32, compile_integer
from dpnet.model.engine.baseline import BaselineParameters
from dpnet.model.engine.layout import Region
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.golden.network import fp32_layer, integer_network
from dpnet.model.image import Image, ImageError, ImageLayer
from dpnet.model.quantizer.exact import quantize
from dpnet.sim.board.bytes_board import parse_url
from dpnet.sim.peers.engine_model import EngineModel
from dpnet.sim.peers.faulty import ModelTransport

TINY = "sim://array?stages=2&columns=4&segments=2&index_depth=512"
ENGINE = EngineParameters(stages=2, columns=4, segments=2, index_depth=512)

SIZES = (14, 27, 13, 10)


def network(
    seed: int = 0, sizes: tuple[int, ...] = SIZES, ks: tuple[int, ...] = (16, 5, 2)
) -> Image:
    rng = np.random.default_rng(seed)
    layers = [
        DenseLayer(
            f"fc{n}",
            quantize(rng.standard_normal((rows, columns)), k),
            rng.standard_normal(rows),
            relu=n < len(sizes) - 2,
        )
        for n, ((columns, rows), k) in enumerate(zip(pairwise(sizes), ks, strict=True))
    ]
    return compile_integer(layers, rng.standard_normal((50, sizes[0])))


def matrices(*shapes: tuple[int, ...], k: int = 16, seed: int = 0) -> Image:
    rng = np.random.default_rng(seed)
    return compile_fp32(
        {
            f"m{n}": (quantize(rng.standard_normal(shape).reshape(shape[0], -1), k), shape)
            for n, shape in enumerate(shapes)
        }
    )


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = connect(TINY)
    yield driver
    driver.link.transport.close()


# A real engine, simulated


def test_the_engine_says_its_size(driver: Driver) -> None:
    assert parameters(driver.identify()) == ENGINE


def test_an_integer_network_equals_the_golden_model(driver: Driver) -> None:
    image = network()
    session = Session(driver, image)
    steps: list[tuple[int, int]] = []
    assert session.load(lambda done, total: steps.append((done, total))) is True
    assert steps[-1][0] == steps[-1][1] == sum(len(w) for _, w in segments(image, ENGINE))
    assert session.load() is False
    rng = np.random.default_rng(1)
    vectors = [*rng.integers(-128, 128, (12, 14)), np.full(14, -128), np.zeros(14, np.int64)]
    for x in vectors:
        found, cycles = session.run_network(x)
        golden = integer_network(image, x)
        assert [y.tolist() for y in found] == [y.tolist() for y in golden]
        assert [len(y) for y in found] == list(SIZES[1:])
        assert cycles == session.predicted_cycles(0, 2)


def test_fp32_matrices_equal_the_golden_model(driver: Driver) -> None:
    image = matrices((11, 20), (8, 3, 2, 2), (1, 1), (17, 33))
    session = Session(driver, image)
    session.load()
    rng = np.random.default_rng(2)
    for number, layer in enumerate(image.layers):
        wide = rng.standard_normal(layer.columns) * 2.0 ** rng.integers(-30, 30, layer.columns)
        for x in (rng.standard_normal(layer.columns), wide, np.zeros(layer.columns)):
            vector = x.astype(np.float32)
            found, cycles = session.run_layer(number, vector)
            golden = fp32_layer(layer, vector)
            assert found.view(np.uint32).tolist() == golden.view(np.uint32).tolist()
            assert cycles == session.predicted_cycles(number, number)


def test_an_image_replaces_the_one_before(driver: Driver) -> None:
    for seed in (3, 4):
        image = network(seed, (6, 5), (3,))
        session = Session(driver, image)
        assert session.load() is True
        x = np.arange(-3, 3)
        assert session.run_network(x)[0][0].tolist() == integer_network(image, x)[0].tolist()


def test_vectors_that_are_refused(driver: Driver) -> None:
    image = matrices((3, 4))
    session = Session(driver, image)
    session.load()
    before = driver.registers()["RUN"]
    for bad in (np.nan, np.inf):
        with pytest.raises(ImageError) as caught:
            session.run_layer(0, np.array([1, 2, bad, 4], np.float32))
        assert str(caught.value) == "the vector must be finite, it holds a NaN or an infinity"
    for wrong, message in (
        ([1e39, 0, 0, 0], "the vector must be finite fp32 numbers, not [1e+39]"),
        ([1j, 0, 0, 0], "the vector must be real numbers, not complex128"),
    ):
        with pytest.raises(ImageError) as caught:
            session.run_layer(0, np.array(wrong))
        assert str(caught.value) == message
    for shape in ((3,), (5,), (1, 4), (4, 1), ()):
        with pytest.raises(ImageError) as caught:
            session.run_layer(0, np.ones(shape, np.float32))
        assert str(caught.value) == f"layer m0 takes a vector of shape (4,), not {shape}"
    assert driver.registers()["RUN"] == before
    # Had the host not looked: the engine says it itself.
    driver.write_words(int(Region.VECTOR) << 28, np.array([0x7FC00000] * 4, np.uint32))
    with pytest.raises(EngineError, match="nonfinite: a vector holds a NaN or an infinity"):
        driver.run(0, 0)


def test_integers_that_are_refused(driver: Driver) -> None:
    session = Session(driver, network(5, (6, 5), (3,)))
    session.load()
    for value in (1 << 24, -(1 << 24) - 1):
        with pytest.raises(
            ImageError, match=rf"^the vector must be .* of 25 bits, not \[{value}.0"
        ):
            session.run_network(np.array([0, 0, value, 0, 0, 0]))
    # Floats that nobody quantized were cut off to 0 and 1 once: another class came out.
    pixels = np.array([0.0, 0.25, 1.0, 0.5, 0.0, 1.0])
    for call in (session.run_network, lambda x: session.run_layer(0, x)):
        with pytest.raises(ImageError) as caught:
            call(pixels)
        assert str(caught.value) == (
            "the vector must be integers, not [0.25]: quantize it first (Image.quantize_input)"
        )
    with pytest.raises(
        ImageError, match=r"^the vector must be integers, not \[0.25\]: quantize it"
    ):
        session.run_batch(0, pixels[None])
    for wrong in (np.nan, np.inf):
        with pytest.raises(ImageError, match=r"^the vector must be finite, it holds a NaN or an "):
            session.run_network(np.array([0, 0, wrong, 0, 0, 0]))
    with pytest.raises(ImageError, match=r"^layer fc0 takes a vector of shape \(6,\), not \(5,\)$"):
        session.run_network(np.zeros(5, np.int64))


# What fits


def too_large(image: Image, engine: EngineParameters) -> str:
    """The message, without the engine that it names, which holds the image."""
    with pytest.raises(CapacityError) as caught:
        place_layers(image, engine)
    message, _, url = str(caught.value).partition("; an engine that holds it: ")
    larger, _ = parse_url(url)
    assert isinstance(larger, EngineParameters) and larger.lanes == engine.lanes
    assert len(place_layers(image, larger)) == len(image.layers)
    return message


LARGER = "the image is larger than the engine: layer {}"


def test_a_tile_larger_than_the_index_store() -> None:
    # 8 rows a tile, 2 columns a beat: 9 tiles of 50 beats.
    image = matrices((65, 100))
    assert too_large(image, replace(ENGINE, index_depth=49)) == LARGER.format(
        "m0 (65 × 100, K = 16) needs 50 index rows for a tile, there are 49"
    )
    assert place_layers(image, replace(ENGINE, index_depth=50))[0].descriptor.stream == 9


def test_a_tile_with_too_many_codebooks() -> None:
    image = matrices((17, 2))  # 8 rows a tile in 2 slots
    assert too_large(image, replace(ENGINE, slots=1)) == LARGER.format(
        "m0 (17 × 2, K = 16) needs 2 codebook slots for a tile, there are 1"
    )
    assert place_layers(image, replace(ENGINE, slots=2))[0].descriptor.stream == 3


def test_an_image_with_too_many_results() -> None:
    # A chain keeps every layer's results: 8, 4 and 4 slots.
    assert too_large(network(), replace(ENGINE, result_slots=15)) == LARGER.format(
        "fc2 (10 × 13, K = 2) needs 16 result slots, there are 15"
    )
    assert len(place_layers(network(), replace(ENGINE, result_slots=16))) == 3
    # Matrices stand alone and share their result slots: 3 tiles of 2, then 2.
    image = matrices((17, 2), (16, 2))
    assert too_large(image, replace(ENGINE, result_slots=5)) == LARGER.format(
        "m0 (17 × 2, K = 16) needs 6 result slots, there are 5"
    )
    assert len(place_layers(image, replace(ENGINE, result_slots=6))) == 2


def test_rows_that_are_too_long() -> None:
    image = matrices((2, 65))
    assert too_large(image, replace(ENGINE, max_columns=64)) == LARGER.format(
        "m0 (2 × 65, K = 16) needs 65 columns, there are 64"
    )
    assert len(place_layers(image, replace(ENGINE, max_columns=65))) == 1


def test_vectors_that_need_too_many_rows() -> None:
    # Vectors of 14, 27 and 13 values take 1, 2 and 1 rows of 16.
    assert too_large(network(), replace(ENGINE, vector_words=48)) == LARGER.format(
        "fc2 (10 × 13, K = 2) needs 4 rows of activations, there are 3"
    )
    assert len(place_layers(network(), replace(ENGINE, vector_words=64))) == 3
    # Matrices stand alone and share their rows.
    assert len(place_layers(matrices((2, 48), (2, 48)), replace(ENGINE, vector_words=48))) == 2


def test_more_layers_than_descriptors() -> None:
    image = matrices((1, 2), (1, 2), (1, 2))
    assert too_large(image, replace(ENGINE, layers=2)) == LARGER.format(
        "m2 (1 × 2, K = 16) needs 3 layers, there are 2"
    )


def test_more_values_than_buckets() -> None:
    image = matrices((3, 20), k=5)
    assert too_large(image, replace(ENGINE, index_bits=2)) == LARGER.format(
        "m0 (3 × 20, K = 5) needs 5 values per codebook, there are 4"
    )
    assert len(place_layers(matrices((3, 20), k=4), replace(ENGINE, index_bits=2))) == 1


def test_engines_of_one_kind_of_numbers() -> None:
    assert too_large(matrices((2, 3)), replace(ENGINE, edges="integer")) == (
        "layer m0 computes with fp32, the engine only with integers (edges integer)"
    )
    assert too_large(network(), replace(ENGINE, edges="fp32")) == (
        "layer fc0 computes with integers, the engine only with fp32 (edges fp32)"
    )
    assert len(place_layers(matrices((2, 3)), replace(ENGINE, edges="fp32"))) == 1
    assert len(place_layers(network(), replace(ENGINE, edges="integer"))) == 3


def test_entries_that_are_too_wide() -> None:
    assert too_large(network(), replace(ENGINE, entry_bits=12)) == (
        "layer fc0 has entries of 16 bits, the engine 12: compile it with fewer entry bits"
    )
    # fp32 codebooks are rounded to what the engine has.
    segments(matrices((3, 20)), replace(ENGINE, entry_bits=12))


def extreme(bits: int, k: int = 4) -> Image:
    """Two layers whose entries are the ends of `bits` bits."""
    rng = np.random.default_rng(bits)
    low = -(1 << bits - 1)

    def layer(name: str, rows: int, columns: int) -> ImageLayer:
        return ImageLayer(
            name=name,
            shape=(rows, columns),
            k=k,
            indices=rng.integers(0, k, (rows, columns), dtype=np.uint8),
            entries=rng.choice([low, -low - 1, low, 0], (rows, k)),
            exponent=np.zeros(rows, np.int64),
            bias=np.zeros(rows, np.int64),
            multiplier=np.full(rows, 40_000),
            shift=np.full(rows, bits + 18),
            out_bits=8,
        )

    return Image(layers=(layer("one", 9, 6), layer("two", 5, 9)))


def test_the_most_negative_entry_is_one_of_the_engines() -> None:
    """Two's complement: -2^(bits - 1) fits, 2^(bits - 1) does not."""
    image = extreme(12)
    assert [layer.entry_bits for layer in image.layers] == [12, 12]
    assert len(place_layers(image, replace(ENGINE, entry_bits=12))) == 2
    assert too_large(image, replace(ENGINE, entry_bits=11)) == (
        "layer one has entries of 12 bits, the engine 11: compile it with fewer entry bits"
    )
    only = replace(image.layers[0], entries=np.full((9, 4), -2048))
    assert only.entry_bits == 12
    assert replace(only, entries=np.full((9, 4), 2048)).entry_bits == 13
    assert replace(only, entries=np.zeros((9, 4), np.int64)).entry_bits == 2


def test_the_most_negative_entry_is_computed_with(driver: Driver) -> None:
    image = extreme(25)
    assert any((layer.entries == -(1 << 24)).any() for layer in image.layers)
    session = Session(driver, image)
    session.load()
    for x in (np.full(6, -128), np.full(6, 127), np.array([-128, 127, 0, -1, 1, 5])):
        outputs, _ = session.run_network(x)
        wanted = integer_network(image, x)
        assert [one.tolist() for one in outputs] == [one.tolist() for one in wanted]
        assert outputs[0].any()


def test_activations_that_are_too_wide() -> None:
    image = network()
    wide = replace(image, input_bits=9)
    assert too_large(wide, replace(ENGINE, activation_bits=8)) == (
        "layer fc0 takes activations of 9 bits, the engine has 8"
    )
    hidden = replace(image, layers=(replace(image.layers[0], out_bits=10), *image.layers[1:]))
    assert too_large(hidden, replace(ENGINE, activation_bits=9)) == (
        "layer fc1 takes activations of 10 bits, the engine has 9"
    )
    # The last results are no activations.
    assert image.layers[-1].out_bits == 16
    assert len(place_layers(image, replace(ENGINE, activation_bits=8))) == 3


def test_no_engine_has_rows_of_5000_values() -> None:
    with pytest.raises(CapacityError) as caught:
        place_layers(matrices((2, 5000), k=2), ENGINE)
    assert (
        str(caught.value)
        == LARGER.format("m0 (2 × 5000, K = 2) needs 5000 columns, there are 2048")
        + "; no engine holds it: split the layer, or give it fewer columns"
    )


@pytest.mark.parametrize("seed", range(60))
def test_the_engine_that_is_named_holds_the_image(seed: int) -> None:
    """Random images and engines that are too small in any way, several at once."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        image = matrices(*(tuple(rng.integers(1, 60, 2).tolist()) for _ in range(3)), k=5)
    else:
        image = network(seed, tuple(rng.integers(1, 60, 4).tolist()))
    engine = EngineParameters(
        stages=int(rng.integers(1, 4)),
        columns=int(rng.integers(1, 9)),
        segments=int(rng.integers(1, 5)),
        index_bits=int(rng.integers(1, 5)),
        activation_bits=int(rng.integers(2, 26)),
        entry_bits=int(rng.integers(2, 26)),
        max_columns=int(rng.integers(1, 64)),
        index_depth=int(rng.integers(1, 64)),
        slots=int(rng.integers(1, 9)),
        result_slots=int(rng.integers(1, 9)),
        vector_words=int(rng.integers(1, 99)),
        layers=int(rng.integers(1, 4)),
        row_beats=int(rng.choice([1, 2, 8])),
        edges=str(rng.choice(["both", "fp32", "integer"])),
    )
    try:
        place_layers(image, engine)
    except CapacityError as error:
        larger, _ = parse_url(str(error).partition("; an engine that holds it: ")[2])
        assert isinstance(larger, EngineParameters)
        assert len(place_layers(image, larger)) == len(image.layers)


def test_segments_hold_every_layer_in_its_place() -> None:
    image = network()
    found = dict(segments(image, ENGINE))
    assert set(found) == {int(region) << 28 for region in range(1, 5)}
    words = found[Region.LAYERS << 28].reshape(-1, 8)
    tiles, beats = [4, 2, 2], [7, 14, 7]  # of 8 rows, of 2 columns
    assert (words[:, 0] & 0xFFFF).tolist() == beats
    assert (words[:, 0] >> 16).tolist() == tiles
    assert (words[:, 1] & 0xFFFF).tolist() == [27, 13, 10]
    assert (words[:, 1] >> 16 & 0xFF).tolist() == [15, 4, 1]
    assert words[:, 2].tolist() == [0, 28, 56]  # index rows: 4 · 7, then 2 · 14
    assert (words[:, 3] & 0xFFFF).tolist() == [0, 8, 12]  # slots: 2 a tile
    assert (words[:, 3] >> 16).tolist() == [0, 8, 12]  # the results of each layer stay
    assert (words[:, 5] >> 16).tolist() == [1, 2, 1]  # rows of 16 activations of a vector
    # A nibble per lane, 4 lanes in a segment, two beats in a word: stage 0, segments 0 and 1.
    layer: ImageLayer = image.layers[0]
    for segment, word in enumerate(found[Region.INDEX << 28][:2].tolist()):
        nibbles = [word >> 4 * n & 15 for n in range(8)]
        assert nibbles == [int(layer.indices[n % 4, n // 4 * 2 + segment]) for n in range(8)]
    assert layer.entries is not None
    books = found[Region.CODEBOOK << 28][:64].reshape(4, 16).astype(np.int64)
    signed = (books + (1 << 24) & (1 << 25) - 1) - (1 << 24)
    assert sorted(signed.reshape(-1).tolist()) == sorted(layer.entries[:4].reshape(-1).tolist())


# The other engine


def model_of(params: Parameters) -> Driver:
    registers = identity(params, clock_hz=100_000_000)
    return Driver(Link(ModelTransport(EngineModel(identity=registers))))


BASELINE = BaselineParameters(weights=4096, rows=64, columns=100, layers=1)


def test_engines_are_told_apart() -> None:
    with pytest.raises(CapacityError) as caught:
        Session(model_of(BASELINE), matrices((2, 3)))
    assert str(caught.value) == (
        "the engine is the fp32 baseline, which runs no images; connect to an array"
    )
    with pytest.raises(CapacityError) as caught:
        BaselineSession(model_of(ENGINE), np.ones((2, 3), np.float32))
    assert str(caught.value) == "the engine is an array, not the fp32 baseline; swap the ports"


def test_matrices_that_the_baseline_refuses() -> None:
    driver = model_of(BASELINE)
    for shape in ((65, 2), (2, 101), (64, 65)):
        with pytest.raises(CapacityError) as caught:
            BaselineSession(driver, np.ones(shape, np.float32))
        assert str(caught.value) == (
            f"the matrix is larger than the baseline engine: {shape[0]} × {shape[1]}, there is "
            "room for 4096 weights, 64 rows, 100 columns"
        )
    with pytest.raises(ImageError, match=r"^the matrix must be finite, it holds a NaN"):
        BaselineSession(driver, np.array([[1, np.nan]], np.float32))
    session = BaselineSession(driver, np.ones((3, 4), np.float32))
    with pytest.raises(ImageError, match=r"^the vector must be 4 finite numbers, not \(3,\)$"):
        session.run(np.ones(3, np.float32))
    with pytest.raises(ImageError, match=r"^the vector must be finite, it holds a NaN or an inf"):
        session.run(np.array([1, 2, 3, np.inf], np.float32))
    for wide in (BaselineSession, lambda _, weights: session.run(weights[0])):
        with pytest.raises(ImageError, match=r"must be finite fp32 numbers, not \[1e\+39\]$"):
            wide(driver, np.array([[1, 2, 1e39, 3]]))
