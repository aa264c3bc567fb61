"""From a network to an image: `compile_net` for PyTorch, the others for what is quantized."""

from dpnet.model.compile.errors import CompileError
from dpnet.model.compile.integer import DenseLayer, compile_integer
from dpnet.model.compile.matrices import compile_fp32
from dpnet.model.compile.net import compile_net

__all__ = ["CompileError", "DenseLayer", "compile_fp32", "compile_integer", "compile_net"]
