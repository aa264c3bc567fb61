"""How large what a map image holds may be: as large as the largest engine has room for.

Everything that is allocated while a file is read is bounded by these or by the file's size.
"""

from __future__ import annotations

LARGEST_FILE = 1 << 28
LARGEST_LAYERS = 1 << 10
"""Passes that an engine holds; a layer is at least one."""
LARGEST_ROWS = 1 << 16
"""Of all layers together: the row groups that an engine holds."""
LARGEST_INDICES = 1 << 28
"""Of all layers together: the words of indices that an engine holds."""
LARGEST_SIDE = 1 << 12
"""Rows, columns, kernels, strides, dilations, padding."""
LARGEST_CHANNELS = 1 << 16
LARGEST_VALUES = 1 << 25
"""Of all tensors together."""
LARGEST_PADDED = 1 << 22
"""Positions of a map with its padding."""
LARGEST_MAXIMA = 1 << 26
"""Windows' positions of all maxima together, of one channel."""
LONGEST_TEXT = 1 << 10
"""Characters of a name, or of a line of source."""
