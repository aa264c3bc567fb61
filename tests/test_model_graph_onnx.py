"""ONNX files read as graphs, against ONNX's own reference in float64."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dpnet.model.graph.evaluate import evaluate
from dpnet.model.graph.nodes import AveragePool, Convolution, Graph, GraphError
from dpnet.model.graph.reading import from_file
from dpnet.model.graph.simplify import simplify

onnx = pytest.importorskip("onnx", reason="the extra dpnet[onnx] is not installed")
helper = onnx.helper
DOUBLE = onnx.TensorProto.DOUBLE
RANDOM = np.random.default_rng(3)


def numbers(*shape: int) -> NDArray[np.float64]:
    return RANDOM.standard_normal(shape)


def model(
    nodes: Sequence[Any],
    shape: Sequence[int | str],
    held: dict[str, NDArray[Any]] | None = None,
    *,
    outputs: Sequence[str] = ("y",),
    rank: int = 4,
    kind: int = DOUBLE,
    version: int = 17,
) -> Any:
    """A model from x to results of this rank."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info(name, kind, [None] * rank) for name in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in (held or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    made.ir_version = 8
    return made


def read(made: Any, folder: Path, count: int = 2) -> tuple[Graph, Graph]:
    """The graph and the simplified one, after both gave what ONNX's reference gives."""
    onnx.save(made, folder / "net.onnx")
    graph = from_file(folder / "net.onnx")
    simple = simplify(graph)
    pictures = numbers(count, *graph.input.shape)
    (wanted,) = onnx.reference.ReferenceEvaluator(made).run(None, {"x": pictures})
    for one in (graph, simple):
        found = evaluate(one, pictures)[one.output.name]
        np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-9, atol=1e-9)
    return graph, simple


def test_a_small_network(tmp_path: Path) -> None:
    """As an exporter of old writes it: the batch's size is computed, and the shape put together."""
    node = helper.make_node
    held = {
        "conv.weight": numbers(4, 3, 3, 3),
        "conv.bias": numbers(4),
        "scale": numbers(4),
        "offset": numbers(4),
        "mean": numbers(4),
        "var": abs(numbers(4)) + 0.5,
        "six": np.array(6.0),
        "zero": np.array(0.0),
        "first": np.array(0, np.int64),
        "axes": np.array([0], np.int64),
        "rest": np.array([-1], np.int64),
        "fc.weight": numbers(5, 64),
        "fc.bias": numbers(5),
    }
    nodes = [
        node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], "/conv/Conv", pads=[0, 1, 2, 1]),
        node("BatchNormalization", ["a", "scale", "offset", "mean", "var"], ["b"]),
        node("Clip", ["b", "zero", "six"], ["c"]),
        node("MaxPool", ["c"], ["d"], kernel_shape=[2, 2], strides=[2, 2]),
        node("Shape", ["d"], ["s"]),
        node("Gather", ["s", "first"], ["n"]),
        node("Unsqueeze", ["n", "axes"], ["m"]),
        node("Concat", ["m", "rest"], ["t"], axis=0),
        node("Reshape", ["d", "t"], ["e"]),
        node("Gemm", ["e", "fc.weight", "fc.bias"], ["f"], transB=1),
        node("Softmax", ["f"], ["y"], axis=1),
    ]
    graph, simple = read(model(nodes, ["batch", 3, 8, 8], held, rank=2), tmp_path, 1)
    convs = [one for one in simple if isinstance(one.operator, Convolution)]
    assert [one.operator.parameter for one in convs] == ["conv.weight", "fc.weight"]
    assert str(convs[0].source) == "node /conv/Conv (conv)"
    assert graph.output.operator.kind == "softmax"


def test_padding_by_rule(tmp_path: Path) -> None:
    node = helper.make_node
    held = {"w": numbers(3, 2, 4, 2), "v": numbers(3, 1, 3, 3)}
    for rule in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        nodes = [
            node("Conv", ["x", "w"], ["a"], auto_pad=rule, strides=[2, 1]),
            node("Conv", ["a", "v"], ["y"], auto_pad=rule, group=3),
        ]
        read(model(nodes, [2, 2, 11, 9], held), tmp_path)


def test_average_pooling_does_not_count_padding_unless_told(tmp_path: Path) -> None:
    node = helper.make_node
    for counted in (0, 1):
        pool = node(
            "AveragePool", ["x"], ["y"], kernel_shape=[3, 3], pads=[1, 0, 0, 1],
            strides=[2, 2], count_include_pad=counted,
        )  # fmt: skip
        _, simple = read(model([pool], [2, 2, 9, 8]), tmp_path)
        kind = Convolution if counted else AveragePool
        assert isinstance(simple.output.operator, kind)


def test_parts_orders_and_constants(tmp_path: Path) -> None:
    node = helper.make_node
    held = {
        "half": np.array([2, 2], np.int64),
        "starts": np.array([0, 1], np.int64),
        "ends": np.array([2**62, -1], np.int64),
        "axes": np.array([2, 3], np.int64),
        "steps": np.array([2, 1], np.int64),
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2], np.int64),
        "row": numbers(1, 2, 1, 1),
        "two": np.array(2.0),
        "m": numbers(2, 3),
    }
    nodes = [
        node("Split", ["x", "half"], ["a", "b"], axis=1),
        node("Slice", ["a", "starts", "ends", "axes", "steps"], ["c"]),
        node("Slice", ["b", "starts", "ends", "axes", "steps"], ["d"]),
        node("Sub", ["c", "d"], ["e"]),
        node("Mul", ["e", "row"], ["f"]),
        node("Div", ["f", "two"], ["g"]),
        node("Transpose", ["g"], ["i"], perm=[0, 2, 3, 1]),
        node("MatMul", ["i", "m"], ["j"]),
        node("Transpose", ["j"], ["k"], perm=[0, 3, 1, 2]),
        node("Pad", ["k", "pads"], ["h"]),
        node("Neg", ["h"], ["l"]),
        node("ReduceMean", ["l"], ["o"], axes=[2, 3], keepdims=0),
        node("Identity", ["o"], ["y"]),
    ]
    read(model(nodes, [2, 4, 7, 6], held, rank=2), tmp_path)


def test_one_channel_and_global_pooling(tmp_path: Path) -> None:
    node = helper.make_node
    nodes = [
        node("GlobalAveragePool", ["x"], ["a"]),
        node("GlobalMaxPool", ["x"], ["b"]),
        node("Concat", ["a", "b"], ["c"], axis=1),
        node("Flatten", ["c"], ["d"]),
        node("Relu", ["d"], ["y"]),
    ]
    read(model(nodes, [2, 3, 4, 5], rank=2), tmp_path)


@pytest.mark.parametrize(
    "made, message",
    [
        (
            lambda n: model([n("HardSwish", ["x"], ["y"], "act")], [1, 2, 4, 4]),
            "node act: the engine has no Hardswish; ReLU, ReLU6 and Hardtanh run on it",
        ),
        (
            lambda n: model(
                [n("ConvTranspose", ["x", "w"], ["y"], "up")],
                [1, 2, 4, 4],
                {"w": numbers(2, 3, 2, 2)},
            ),
            "node up: the engine has no ConvTranspose; convolutions in one and two dimensions run "
            "on it",
        ),
        (
            lambda n: model([n("Mul", ["x", "x"], ["y"], "square")], [1, 2, 4, 4]),
            "node square: the engine multiplies no two maps; factors that are constants run on it",
        ),
        (
            lambda n: model([n("Relu", ["x"], ["y"])], [1, 2, "height", 4]),
            "the input x has the shape [1, 2, 'height', 4]; all sizes but the batch's must be "
            "fixed",
        ),
        (
            lambda n: model([n("Abs", ["x"], ["y"])], [1, 2], rank=2, kind=onnx.TensorProto.INT32),
            "the network's input must be real floating point numbers, not INT32; give pictures as "
            "float32",
        ),
        (
            lambda n: model(
                [n("Relu", ["x"], ["y"]), n("Neg", ["x"], ["z"])],
                [1, 2],
                rank=2,
                outputs=("y", "z"),
            ),
            "the network gives 2 results; the engine gives one",
        ),
        (
            lambda n: model(
                [n("AveragePool", ["x"], ["y"], "p", kernel_shape=[2, 2], strides=[2, 2],
                   ceil_mode=1, count_include_pad=1)],
                [1, 2, 5, 4],
            ),
            "node p: ceil_mode with count_include_pad and a partial window is not the same "
            "everywhere; the engine takes count_include_pad=0",
        ),
    ],
)  # fmt: skip
def test_refused(made: Any, message: str, tmp_path: Path) -> None:
    onnx.save(made(helper.make_node), tmp_path / "net.onnx")
    with pytest.raises(GraphError) as error:
        from_file(tmp_path / "net.onnx")
    assert str(error.value) == message


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    with pytest.raises(GraphError) as error:
        from_file(path)
    assert str(error.value) == f"{path}: there is no such file"
    path.write_bytes(b"nothing at all")
    with pytest.raises(GraphError) as error:
        from_file(path)
    assert str(error.value).startswith(f"{path}: it is no ONNX file, or damaged (")


def test_without_onnx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def lacking(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "onnx":
            raise ModuleNotFoundError("No module named 'onnx'", name="onnx")
        return real(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "dpnet.model.graph.reading.model_file", raising=False)
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(ImportError) as error:
        from_file(tmp_path / "net.onnx")
    assert str(error.value) == (
        "reading an ONNX file needs onnx, which is not installed: pip install 'dpnet[onnx]'"
    )
