"""Everything that a network would be refused for, not the first of it alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from nets_kit import Calling, line_of
from torch import Tensor, nn

from dpnet.model.graph.nodes import GraphError
from dpnet.model.graph.reading import refusals

X = torch.randn(2, 1, 8, 8)
HERE = Path(__file__).name


def several(self: Calling, x: Tensor) -> Tensor:
    x = F.gelu(self.conv(x))
    a, b = x.chunk(2, 1)
    x = torch.cat([F.silu(a), b], 1)
    return self.head(x).tanh()


def a_net() -> Calling:
    return Calling(several, conv=nn.Conv2d(1, 8, 3), head=nn.Conv2d(8, 4, 3))


def test_each_one_by_its_line() -> None:
    found = [str(error) for error in refusals(a_net(), X)]
    lines = [f"{HERE}:{line_of(several, n)}" for n in (1, 3, 4)]
    assert [one.partition(",")[0] for one in found] == lines
    assert [one.partition("has no ")[2].partition(";")[0] for one in found] == [
        "GELU",
        "SiLU",
        "Tanh",
    ]


def test_a_net_that_is_read_has_none() -> None:
    assert refusals(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), X) == []
    with pytest.raises(GraphError, match=r"^the network must be a torch.nn.Module, not int$"):
        refusals(3, X)


def test_files_and_programs(tmp_path: Path) -> None:
    program = torch.export.export(a_net().eval(), (X,))
    torch.export.save(program, tmp_path / "net.pt2")
    wanted = [str(error) for error in refusals(a_net(), X)]
    assert [str(error) for error in refusals(program)] == wanted
    assert len(refusals(tmp_path / "net.pt2")) == 3


def test_onnx(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    nodes = [
        onnx.helper.make_node("HardSwish", ["x"], ["a"], name="/act/HardSwish"),
        onnx.helper.make_node("Relu", ["a"], ["b"]),
        onnx.helper.make_node("Elu", ["b"], ["y"], name="/end/Elu"),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 1, 4, 4])
        for name in "xy"
    ]
    graph = onnx.helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "net.onnx")
    assert [str(error) for error in refusals(tmp_path / "net.onnx")] == [
        f"node {node}: the engine has no {name}; ReLU, ReLU6 and Hardtanh run on it"
        for node, name in (("/act/HardSwish (act)", "Hardswish"), ("/end/Elu (end)", "ELU"))
    ]
