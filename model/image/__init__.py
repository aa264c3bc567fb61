"""The image: a compressed network in one file, for every size of engine."""

from dpnet.model.image.file import parse_image, read_image, write_image
from dpnet.model.image.header import ImageError
from dpnet.model.image.layers import ImageLayer
from dpnet.model.image.network import Image

__all__ = ["Image", "ImageError", "ImageLayer", "parse_image", "read_image", "write_image"]
