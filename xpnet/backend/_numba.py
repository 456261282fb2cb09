"""Fused functions on NumPy with Numba: one loop over the elements."""

import functools
import hashlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pooch

from xpnet._util.version import __version__
from xpnet.backend._formula import OPERATORS, Formula, Symbol, define, python

WORDS = {
    **OPERATORS,
    "copy": "{}",
    "sqrt": "math.sqrt({})",
    "sign": "sign({})",
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})",
    "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "where": "({1} if {0} else {2})",
}

# One loop over the elements, in the order in which they lie in memory. Numba makes vector instructions of it.
TEMPLATE = """\
import math

import numba


@numba.njit(inline="always")
def sign(x):
    return x if x == 0 or x != x else x / abs(x)


@numba.njit(cache=True, error_model="numpy", nogil=True)
def loop({arguments}):
    for i in range({first}.size):
        {body}
"""


@functools.cache
def numba_is_installed() -> bool:
    """Whether Numba is installed; XPNET_FAST=0 in the environment says not to use it."""
    return os.environ.get("XPNET_FAST", "1") != "0" and importlib.util.find_spec("numba") is not None


def loop(
    formula: Formula, overwrites: int, otherwise: Callable[..., Any], scalars: Mapping[str, Any]
) -> Callable[..., Any]:
    """A function of the formula's arguments, compiled by Numba.

    Arguments:
        formula: the formula.
        overwrites: see `Fused`.
        otherwise: the same function in another form, for what the loop cannot do.
        scalars: functions of scalars, by the names of operations.
    """
    if not formula.operations or any(each.operation not in WORDS for each in formula.operations):
        return otherwise
    arrays = [name for name, symbol in formula.arguments.items() if symbol.kind == "array"]
    outputs = [*formula.names[:overwrites], *[f"result_{i}" for i in range(len(formula.results))]]
    outputs = outputs[: len(formula.results)]
    new = [name for name in outputs if name not in arrays]
    numbers = {
        python(each): f"number_{i}"
        for i, each in enumerate(each for symbol in formula.operations for each in symbol.operands)
        if not isinstance(each, Symbol) or each.kind != "array"
    }
    in_loop = ", ".join([*arrays, *new, *numbers.values()])
    lines = [f"{name}_i = {name}[i]" for name in arrays]
    names: dict[Any, str] = {symbol: f"{name}_i" for name, symbol in formula.arguments.items()}
    for i, symbol in enumerate(formula.operations):
        operands = [numbers.get(python(each)) or names[each] for each in symbol.operands]
        lines.append(f"x_{i} = {WORDS[symbol.operation].format(*operands)}")
        names[symbol] = f"x_{i}"
    lines += [f"{name}[i] = {names[each]}" for name, each in zip(outputs, formula.results, strict=True)]
    source = TEMPLATE.format(arguments=in_loop, first=arrays[0], body="\n        ".join(lines))

    orders = [" and ".join([f"{name}.flags.{each}_contiguous" for name in arrays]) for each in "cf"]
    several = [f"{name}.ndim" for name, symbol in formula.arguments.items() if symbol.kind == "scalar"]
    given = ", ".join(formula.names)
    flat = [f"{name}.ravel('K')" for name in [*arrays, *new]]
    call = [
        f"if not ({orders[0]} or {orders[1]}){''.join([f' or {each}' for each in several])}:",
        f"    return otherwise({given})",
        f"number = {arrays[0]}.dtype.type",
        *[f"{name} = empty_like({arrays[0]})" for name in new],
        f"compiled({', '.join([*flat, *[f'number({each})' for each in numbers]])})",
        f"return {', '.join(outputs)}",
    ]
    compiled = _module(source).loop
    scope = {"compiled": compiled, "otherwise": otherwise, "empty_like": np.empty_like}
    return define(formula.names, call, {**scalars, **scope})


def _module(source: str) -> ModuleType:
    """The source as a module in a file of the user's cache, where Numba keeps what it compiled of it."""
    name = "fused_" + hashlib.sha256(f"{__version__} {source}".encode()).hexdigest()[:16]
    for folder in (Path(pooch.os_cache("xpnet")) / "fused", Path(tempfile.gettempdir()) / "xpnet-fused"):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.py"
            if not path.exists():
                temporary = path.with_suffix(f".{os.getpid()}")
                temporary.write_text(source)
                temporary.replace(path)
        except OSError:
            continue
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    raise OSError("no folder for compiled loops")
