"""What a run was trained on: `data.json` in its folder. A resumed run refuses other data."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import data
from xpnet.errors import CheckpointError, ConfigError
from xpnet.train import folder as folders

FILE = "data.json"
WHOLE = 1 << 30  # bytes of inputs that are read whole; of more, `BLOCKS` blocks of rows are read
BLOCKS = 64
CHUNK = 1 << 24  # bytes read at once
WORDS = {"train": "training", "test": "test"}


def describe(dataset: data.Dataset) -> dict[str, Any]:
    """The data set as values that JSON can hold.

    Names, sizes, how the inputs were made of files (`data.Preparation`), the smallest and the largest input
    of training, and a SHA-256 of all inputs and labels.
    """
    x = dataset.train.x
    return {
        **dataset.describe(),
        "input_range": [float(x.min()), float(x.max())],
        **{part: _describe(getattr(dataset, part)) for part in WORDS},
    }


def _describe(examples: data.Examples) -> dict[str, Any]:
    x, y = examples
    return {
        "examples": len(x),
        "shape": list(x.shape[1:]),
        "inputs": digest(x),
        "labels": digest(y),
    }


def digest(array: Any) -> str:
    """The SHA-256 of an array, in memory or not: its dtype, shape and values, or blocks of very many."""
    found = hashlib.sha256(f"{np.dtype(array.dtype)} {tuple(array.shape)}".encode())
    n = len(array)
    row = max(1, math.prod(array.shape[1:]) * np.dtype(array.dtype).itemsize)
    blocks = 1 if n * row <= WHOLE else BLOCKS
    length = n if blocks == 1 else max(1, WHOLE // BLOCKS // row)
    step = max(1, CHUNK // row)
    for block in range(blocks):
        start = (n - length) * block // max(1, blocks - 1)
        for i in range(start, start + length, step):
            part = np.ascontiguousarray(array[i : min(i + step, start + length)])
            found.update(part.reshape(-1).view(np.uint8).data)
    return found.hexdigest()


def write(folder: Path, found: dict[str, Any], normalization: data.Normalization | None) -> None:
    """Write `data.json`: what `describe` found, and the mean and deviation that the inputs are scaled by."""
    scaled = {"normalization": normalization and normalization._asdict()}
    folders.write_text(folder / FILE, json.dumps(found | scaled, indent=2) + "\n")


def check(folder: Path, found: dict[str, Any]) -> None:
    """ConfigError if the data differ from those of the run in that folder.

    A folder without `data.json`, of an earlier version, has nothing to compare. Raises CheckpointError where
    the file cannot be read.
    """
    try:
        own = json.loads((folder / FILE).read_text(encoding="utf-8"))
        other = difference(own, found)
    except FileNotFoundError:
        return
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{folder / FILE}: expected the description of a data set: {reason}") from error
    if other:
        raise ConfigError(f"--resume: expected the data that {folder} began with, got {other}")


def difference(own: dict[str, Any], found: dict[str, Any]) -> str:
    """The first difference between two data sets, as `describe` gives them, in words, or ""."""
    for part, word in WORDS.items():
        old, new = own[part], found[part]
        if old["examples"] != new["examples"]:
            return f"{new['examples']:,} {word} examples instead of {old['examples']:,}"
        if old["shape"] != new["shape"]:
            return f"{word} inputs of shape {new['shape']} instead of {old['shape']}"
        for key in ("inputs", "labels"):
            if old[key] != new[key]:
                return f"other {word} {key}, or the same in another order"
    for key, word in (("classes", "classes"), ("class_names", "class names")):
        if own[key] != found[key]:
            return f"{word} {found[key]} instead of {own[key]}"
    return ""
