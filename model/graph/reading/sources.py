"""Where in the user's source an operation was written."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from types import TracebackType

import torch
from torch import fx

from dpnet.model.graph.nodes import Source

__all__ = ["source_of", "where"]

_FRAME = re.compile(r'^ *File "([^"]+)", line (\d+), in [^\n]*(?:\n(?! *File ")([^\n]*))?', re.M)
_TORCH = f"{Path(torch.__file__).parent}/"
_INSTALLED = re.compile(r"/(?:site|dist)-packages/torch/")
_DPNET = f"{Path(__file__).resolve().parents[1]}/"


def source_of(node: fx.Node) -> Source:
    """The source of a node of an exported graph: the innermost line that is not PyTorch's own, and
    the innermost module's path.

    PyTorch records the lines of functions that are called `forward`, not of those that they call.
    """
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]).partition(".parametrizations.")[0] if stack else ""
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if _is_users(frame[0])]
    if not own:
        return Source(node.name, path)
    file, line, text = own[-1]
    return Source(node.name, path, Path(file).name, int(line), text.strip())


def where(error: BaseException) -> str:
    """`mynets.py:41, "if x.sum() > 0:"`: the user's innermost line of a traceback; empty if it has
    none."""
    frames = [frame for frame in _frames(error.__traceback__) if _is_users(frame.filename)]
    if not frames:
        return ""
    last = frames[-1]
    return str(Source("", "", Path(last.filename).name, last.lineno or 0, last.line or ""))


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    """The frames below our own, which called PyTorch."""
    frames = list(traceback.extract_tb(trace))
    ours = [place for place, frame in enumerate(frames) if frame.filename.startswith(_DPNET)]
    return frames[ours[-1] + 1 :] if ours else frames


def _is_users(file: str) -> bool:
    inside = file.startswith(_TORCH) or _INSTALLED.search(file)
    return not inside and not file.startswith("<")
