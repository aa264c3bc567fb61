"""COBS of gateware, host and model against published vectors and each other."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dpnet.gateware.emit import emit
from dpnet.gateware.link.cobs import CobsDecoder, CobsEncoder
from dpnet.host.link import frames
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES
from dpnet.sim.peers import engine_model

COUNT = bytes(range(1, 256))

# The examples of Wikipedia's "Consistent Overhead Byte Stuffing", which follow the paper.
VECTORS = [
    (b"\x00", b"\x01\x01"),
    (b"\x00\x00", b"\x01\x01\x01"),
    (b"\x00\x11\x00", b"\x01\x02\x11\x01"),
    (b"\x11\x22\x00\x33", b"\x03\x11\x22\x02\x33"),
    (b"\x11\x22\x33\x44", b"\x05\x11\x22\x33\x44"),
    (b"\x11\x00\x00\x00", b"\x02\x11\x01\x01\x01"),
    (COUNT[:254], b"\xff" + COUNT[:254]),
    (b"\x00" + COUNT[:254], b"\x01\xff" + COUNT[:254]),
    (COUNT, b"\xff" + COUNT[:254] + b"\x02\xff"),
    (COUNT[1:] + b"\x00", b"\xff" + COUNT[1:] + b"\x01\x01"),
    (COUNT[2:] + b"\x00\x01", b"\xfe" + COUNT[2:] + b"\x02\x01"),
    # The example of Cheshire and Baker: the start of an IPv4 packet.
    (
        bytes.fromhex("4500002c4c79000040064f37"),
        bytes.fromhex("024501042c4c79010540064f37"),
    ),
]
VALUES = {"vectors": [(raw.hex(), line.hex()) for raw, line in VECTORS]}


@pytest.mark.parametrize("raw, line", VECTORS)
def test_host_and_model_agree_with_the_published_vectors(raw, line):
    assert frames.cobs_encode(raw) == line
    assert frames.cobs_decode(line) == raw
    assert engine_model.stuff(raw) == line
    assert engine_model.unstuff(line) == raw


RUNS = st.lists(
    st.one_of(st.binary(max_size=8), st.integers(250, 258).map(lambda size: b"\x07" * size)),
    max_size=5,
).map(b"\x00".join)


@given(RUNS)
@example(b"")
@example(b"\x01" * 508)
@example(b"\x01" * 508 + b"\x00")
def test_host_cobs_is_the_models_and_back(raw):
    line = frames.cobs_encode(raw)
    assert 0 not in line
    assert line == engine_model.stuff(raw)
    assert frames.cobs_decode(line) == raw


@given(st.lists(st.sampled_from([1, 2, 3, 4, 9, 255]), max_size=20).map(bytes))
def test_host_decodes_noise_as_the_model_does(line):
    expected = engine_model.unstuff(line)
    if expected is None:
        with pytest.raises(frames.FrameError, match=r"COBS block of .* is cut at"):
            frames.cobs_decode(line)
    else:
        assert frames.cobs_decode(line) == expected


def test_encoder_bench():
    count = run_bench(emit(CobsEncoder()), "link.cobs_encoder", values=VALUES)
    assert count == len(PAUSES) + 1


def test_decoder_bench():
    assert run_bench(emit(CobsDecoder()), "link.cobs_decoder", values=VALUES) == len(PAUSES)


@pytest.mark.parametrize("depth", [0, 8, 1000, 16.0])
def test_encoder_refuses_a_depth(depth):
    with pytest.raises(ValueError) as caught:
        CobsEncoder(depth=depth)
    message = f"depth must be a power of two of at least 16, not {depth!r}"
    assert str(caught.value) == message
