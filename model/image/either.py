"""An image of either kind of engine, told apart by what the file says of itself."""

from __future__ import annotations

from pathlib import Path

from dpnet.model.files import opened
from dpnet.model.image.file import read_image as read_array_image
from dpnet.model.image.header import LARGEST_HEADER, ImageError
from dpnet.model.image.maps.file import read_map_image
from dpnet.model.image.maps.header import description_of, is_map_description
from dpnet.model.image.maps.network import MapImage
from dpnet.model.image.network import Image

__all__ = ["read_image"]


def read_image(path: str | Path) -> Image | MapImage:
    """Read and check an image, of the array or of a map engine; `ImageError` says what is wrong
    and where."""
    return read_map_image(path) if _is_map(Path(path)) else read_array_image(path)


def _is_map(path: Path) -> bool:
    """Whether the file says that it is a map image; for others the array's reader has the word."""
    try:
        with opened(path) as (file, size):
            start = file.read(8)
            start += file.read(min(int.from_bytes(start, "little"), LARGEST_HEADER))
            return is_map_description(description_of(start, size)[1])
    except (OSError, ImageError):
        return False
