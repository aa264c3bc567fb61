"""What a file is that is none of ours, by its first bytes.  Standard library only."""

from __future__ import annotations

ENOUGH = 512
"""First bytes that `kind_of` looks at."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x93NUMPY", "a NumPy array (.npy)"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes them"),
    (0, b"GGUF", "a GGUF file"),
    (4, b"TFL3", "a TensorFlow Lite file"),
    (0, b"\x1f\x8b", "a gzip archive: unpack it first"),
    (0, b"BZh", "a bzip2 archive: unpack it first"),
    (0, b"\xfd7zXZ", "an xz archive: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive: unpack it first"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it first"),
    (0, b"version https://git-lfs", "a Git LFS pointer: fetch the file itself with git lfs pull"),
    (0, b"\x89PNG", "a picture"),
    (0, b"\xff\xd8\xff", "a picture"),
    (0, b"\x7fELF", "a program"),
    (0, b"\x00\x09\x0f\xf0\x0f\xf0", "an FPGA bitstream"),
)
_OF_TORCH = ("data.pkl", "data/", "version", "byteorder", ".format_version")
_FIELDS_OF_ONNX = b"\x12\x1a\x22\x28\x32\x3a\x42"

NUMPY_ARCHIVE = "a NumPy archive (.npz)"
ONNX = "an ONNX file"
PICKLE = "a pickle, as PyTorch before 1.6 wrote them"
TORCH = "a PyTorch file"
ZIP = "a zip archive"


def kind_of(start: bytes) -> str:
    """What a file with these first bytes is, with its article; "" where it cannot be told.

    A safetensors file, with or without an image in it, is "": its header tells more.
    """
    for offset, signature, kind in _SIGNATURES:
        if start[offset : offset + len(signature)] == signature:
            return kind
    if start[:4] == b"PK\x03\x04":
        return _archive(start)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return PICKLE if start[2:3] != b"\0" else ""
    if len(start) > 8 and start[0] == 8 and 0 < start[1] < 32 and start[2] in _FIELDS_OF_ONNX:
        return ONNX
    return _text(start)


def _archive(start: bytes) -> str:
    """A zip archive, by the name of its first file."""
    name = start[30 : 30 + int.from_bytes(start[26:28], "little")].decode(errors="replace")
    if name.endswith(".npy"):
        return NUMPY_ARCHIVE
    # torch.save and torch.jit.save put all they write into one folder.
    inner = name.partition("/")[2]
    return TORCH if inner.startswith(_OF_TORCH) else ZIP


def _text(start: bytes) -> str:
    if start.lstrip()[:14].lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page: the download went wrong"
    # A safetensors header is text too, behind 8 bytes of which the last ones are 0.
    if len(start) < 8 or b"\0" in start[:ENOUGH]:
        return ""
    try:
        start[: ENOUGH - 4].decode("ascii")
    except UnicodeDecodeError:
        return ""
    return "a text file"
