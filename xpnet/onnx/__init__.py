"""Write a trained network as an ONNX file: native operators, which other runtimes execute.

It needs the package onnx: `pip install '.[onnx]'`. Where onnxruntime is installed, it runs the files.
"""

from xpnet.onnx.file import Exported, export
from xpnet.onnx.graph import OPSET, Graph, Value
from xpnet.onnx.layers import add

__all__ = ["OPSET", "Exported", "Graph", "Value", "add", "export"]
