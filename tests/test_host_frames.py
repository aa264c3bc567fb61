"""Frames as bytes: what is sent is what the engine model understands, and the other way round."""

import random
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpnet.host.link.frames import Decoder, Frame, FrameError, decode
from dpnet.sim.peers.engine_model import stuff, unstuff

BYTE = st.integers(0, 255)
FRAMES = st.builds(
    Frame,
    st.sampled_from([2, 3, 4, 5, 6, 9, 15, 0x81, 0x82, 0x85, 0x8F]),
    BYTE,
    BYTE,
    BYTE,
    st.integers(0, 2**32 - 1),
    st.binary(max_size=256),
)


@given(FRAMES)
def test_layout(frame):
    line = frame.encode()
    assert line[0] == line[-1] == 0 and 0 not in line[1:-1]
    raw = unstuff(line[1:-1])
    length = len(frame.payload)
    assert raw[:10] == struct.pack(
        "<BBBBIH",
        0x60 + frame.operation,
        frame.txid,
        frame.epoch,
        frame.flags,
        frame.offset,
        length,
    )
    assert raw[10:-4] == frame.payload
    assert raw[-4:] == zlib.crc32(raw[:-4]).to_bytes(4, "little")
    assert decode(line[1:-1]) == frame


def test_a_read_has_the_length_that_it_wants_and_no_payload():
    raw = unstuff(Frame(1, 7, offset=4, wanted=0x104).encode()[1:-1])
    assert raw[:10].hex() == "610700000400000004" + "01"
    assert len(raw) == 14


def test_a_crc_that_was_computed_elsewhere():
    # CRC-32/ISO-HDLC has the check value CBF43926 for "123456789".
    body = b"\x62\x01\x02\x03\x04\x05\x06\x07\x09\x00123456789"
    assert zlib.crc32(b"123456789") == 0xCBF43926
    raw = body + zlib.crc32(body).to_bytes(4, "little")
    assert decode(stuff(raw)).payload == b"123456789"


def stuffed(first=0x62, length=4, payload=b"abcd", crc=0):
    body = struct.pack("<BBBBIH", first, 0, 0, 0, 0, length) + payload
    return stuff(body + (zlib.crc32(body) ^ crc).to_bytes(4, "little"))


@pytest.mark.parametrize(
    "line, message",
    [
        (stuffed(crc=1), "the CRC-32 is wrong"),
        (stuffed(crc=1 << 31), "the CRC-32 is wrong"),
        (stuffed(first=0x12), "frames have version 6, not 1"),
        (stuffed(first=0xB2), "frames have version 6, not 3"),
        (stuffed(length=5), "the header says 5 bytes of payload, there are 4"),
        (
            stuffed(length=257, payload=b"a" * 257),
            "the header says 257 bytes of payload, there are 257",
        ),
        (stuffed(first=0x61), "the header says 4 bytes of payload, there are 4"),
        (stuff(b"123"), "a frame has at least 14 bytes, not 3"),
        (b"\x05abc", "a COBS block of 4 bytes is cut at 3"),
        (b"\x02a\x00", "COBS has no zeros"),
    ],
)
def test_no_frames(line, message):
    with pytest.raises(FrameError) as caught:
        decode(line)
    assert str(caught.value) == message


def test_a_payload_that_is_too_long():
    with pytest.raises(ValueError, match=r"^payload must have at most 256 bytes, not 257$"):
        Frame(2, 0, payload=bytes(257)).encode()


@given(st.lists(FRAMES, max_size=4), st.integers(1, 300), st.booleans())
def test_the_decoder_takes_any_cut(frames, size, shared):
    line = b"".join(frame.encode() for frame in frames)
    if shared:
        line = line.replace(b"\0\0", b"\0")
    decoder = Decoder()
    got = [
        frame for at in range(0, len(line), size) for frame in decoder.feed(line[at : at + size])
    ]
    assert got == frames
    assert decoder.errors == 0


def test_the_decoder_recovers_at_any_zero_and_counts():
    good = Frame(0x82, 1, payload=b"good")
    decoder = Decoder()
    babble = random.Random(1).randbytes(100_000).replace(b"\0", b"\1")
    for at in range(0, len(babble), 1000):
        assert decoder.feed(babble[at : at + 1000]) == []
        assert len(decoder._part) <= 300
    assert decoder.feed(good.encode()) == [good]
    assert decoder.errors == 1
    assert decoder.feed(good.encode()[:-5] + good.encode()) == [good]
    assert decoder.errors == 2
