"""Build the ONNX model of a network."""

from collections.abc import Mapping
from typing import Any

from xpnet import data
from xpnet._util.text import shortened
from xpnet._util.version import __version__
from xpnet.errors import ConfigError
from xpnet.onnx.graph import INPUT, IR_VERSION, OPSET, OUTPUT, Graph, Value
from xpnet.onnx.layers import add
from xpnet.onnx.trained import Trained

LARGEST = 2**31 - 2**20  # bytes: protobuf ends at 2 GiB


def build(trained: Trained, metadata: Mapping[str, str] | None = None) -> Any:
    """The ONNX model, `onnx.ModelProto`, that computes y from x; onnx's checker has seen it.

    Raises ConfigError for a layer that cannot be exported, ShapeError for a shape that does not fit.
    """
    net, normalization, last = trained.net, trained.normalization, trained.last
    graph = Graph(trained.dtype)
    onnx, kinds = graph.onnx, graph.onnx.TensorProto
    real = kinds.DOUBLE if graph.double else kinds.FLOAT
    x = Value(INPUT, ("n", *trained.input_shape))
    y = _normalized(graph, x, normalization) if normalization else x
    y = graph.last(add(graph, net, trained.variables, y))
    if last:
        y = graph(last, y, axis=-1) if last == "Softmax" else graph(last, y)
    _name_output(graph, y)
    size = sum(len(each.raw_data) for each in graph.constants.values())
    if size > LARGEST:
        raise ConfigError(
            f"expected parameters of less than 2 GiB, as an ONNX file holds, got {size:,} bytes"
        )
    inputs, outputs = (
        [onnx.helper.make_tensor_value_info(name, kind, list(shape))]
        for name, kind, shape in (
            (INPUT, real if net.integers is None else kinds.INT64, x.shape),
            (OUTPUT, real, y.shape),
        )
    )
    made = onnx.helper.make_graph(graph.nodes, "network", inputs, outputs, list(graph.constants.values()))
    model = onnx.helper.make_model(
        made,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="xpnet",
        producer_version=__version__,
    )
    onnx.helper.set_model_props(model, dict(metadata or {}))
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of several modules, not all derived from one class
        raise ConfigError(f"expected a valid ONNX graph, got {shortened(str(error), 200)}") from error
    return model


def _normalized(graph: Graph, x: Value, normalization: data.Normalization) -> Value:
    """`data.normalize` of x."""
    mean, std = map(list, normalization)
    with graph.inside("normalize", {}):
        return graph("Div", graph("Sub", x, graph.constant(mean, "mean")), graph.constant(std, "std"))


def _name_output(graph: Graph, y: Value) -> None:
    """Call y the output of the graph."""
    made_by = next((node for node in graph.nodes if y.name in node.output), None)
    if made_by is None or y.name != made_by.output[0]:  # a network that returns its input
        made_by = graph.onnx.helper.make_node("Identity", [y.name], [y.name], name="Identity")
        graph.nodes.append(made_by)
        made_by.output[0] = OUTPUT
        return
    for node in graph.nodes:
        for names in (node.input, node.output):
            names[:] = [OUTPUT if name == y.name else name for name in names]
