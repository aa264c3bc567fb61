"""The map image: a whole network in integers in one file, for every size of map engine."""

from dpnet.model.image.maps.file import parse_map_image, read_map_image
from dpnet.model.image.maps.network import MapImage

__all__ = ["MapImage", "parse_map_image", "read_map_image"]
