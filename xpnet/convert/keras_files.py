"""The files in which Keras keeps weights."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.errors import BackendError, CheckpointError

EXPECTED = "expected a file of Keras, .keras, .weights.h5 or .h5"
WAY_OUT = "load the model in Keras, and pass its get_weights()"
HDF5 = b"\x89HDF\r\n\x1a\n"
FORMS = ("layers", "_layer_checkpoint_dependencies", "vars")  # groups of Keras 3 that are no layers

OWN = "top_level_model_weights"


def read(path: Path) -> tuple[dict[str, list[np.ndarray]], bool]:
    """The arrays of each layer that has weights, by its name, and whether the layers are in their order.

    States of random numbers are left out. Raises CheckpointError for any other file, and BackendError without
    the package h5py.
    """
    try:
        import h5py
    except ImportError as error:
        raise BackendError("from_keras: expected the package h5py to read files: pip install h5py") from error
    if path.is_dir() or Path(f"{path}.index").exists():
        got = "a folder, as TensorFlow saves models" if path.is_dir() else "a checkpoint of TensorFlow"
        raise CheckpointError(f"{path}: {EXPECTED}, got {got}; {WAY_OUT}")
    try:
        content = path.read_bytes()
        if zipfile.is_zipfile(io.BytesIO(content)):  # .keras
            content = zipfile.ZipFile(io.BytesIO(content)).read("model.weights.h5")
        if not content.startswith(HDF5):
            raise CheckpointError(f"{path}: {EXPECTED}, got another kind; {WAY_OUT}")
        with h5py.File(io.BytesIO(content)) as file:
            root = file.get("model_weights", file)
            in_order = "layer_names" in root.attrs
            found = _by_order(root) if in_order else _by_path(file)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or f'{EXPECTED} ({error}); {WAY_OUT}'}") from error
    except Exception as error:  # HDF5 raises many kinds
        raise CheckpointError(f"{path}: {EXPECTED} ({error}); {WAY_OUT}") from error
    weights = {name: each for name, each in found.items() if any(array.dtype.kind == "f" for array in each)}
    return weights, in_order


def _by_path(file: Any) -> dict[str, list[np.ndarray]]:
    """The arrays in a file of Keras 3, by the paths of its layers: "sequential/dense"."""
    found: dict[str, list[np.ndarray]] = {}

    def visit(path: str, group: Any) -> None:
        parts = path.split("/")
        if parts[-1] == "vars" and len(group) and parts[0] != "optimizer":
            name = "/".join(part for part in parts if part not in FORMS) or "vars"
            found[name] = [_decoded(group[str(i)]) for i in range(len(group))]

    file.visititems(visit)
    return found


def _by_order(root: Any) -> dict[str, list[np.ndarray]]:
    """The arrays in a `.h5` file, which names layers and weights in their order."""
    found: dict[str, list[np.ndarray]] = {}
    own = [OWN] if OWN in root else []  # weights of the model itself
    for layer in [*map(_text, root.attrs["layer_names"]), *own]:
        for weight in map(_text, root[layer].attrs["weight_names"]):
            name = weight.rpartition("/")[0]  # a nested model has its layers' in one list
            found.setdefault(name, []).append(_decoded(root[layer][weight]))
    return found


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name


def _decoded(stored: Any) -> np.ndarray:
    array = np.asarray(stored)
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:  # bfloat16, the upper half of a float32
        return (array.view("<u2").astype("<u4") << 16).view("<f4")
    return array
