"""Fused functions on NumPy with Numba: one loop over the elements, or over the rows."""

import functools
import hashlib
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from xpnet._util.files import user_cache
from xpnet._util.version import __version__
from xpnet.backend._formula import OPERATORS, REDUCTIONS, Formula, Symbol, define, python
from xpnet.errors import BackendError

WORDS = {
    **OPERATORS,
    "copy": "{}",
    "filled": "{1}",
    "sqrt": "math.sqrt({})",
    "exp": "math.exp({})",
    "log": "math.log({})",
    "sign": "sign({})",
    "maximum": "({0} if {0} > {1} or {0} != {0} else {1})",
    "minimum": "({0} if {0} < {1} or {0} != {0} else {1})",
    "where": "({1} if {0} else {2})",
    "one_hot": "(one if {0} == j else zero)",
}
# Numba makes no vector instructions of these, nor of sums: NumPy's own are faster, except on short rows.
SLOW = ("exp", "log")
SHORT = 64  # elements
START = {"row_sum": "zero", "row_max": "-np.inf * one", "row_argmax": "0"}
MORE = {
    "row_sum": "{0} = {0} + {1}",
    "row_max": "{0} = {1} if {1} > {0} or {1} != {1} else {0}",
    "row_argmax": "{0}, {0}_of = (j, {1}) if {1} > {0}_of else ({0}, {0}_of)",
}
HEAD = """\
import math

import numba
import numpy as np


@numba.njit(inline="always")
def sign(x):
    return x if x == 0 or x != x else x / abs(x)


@numba.njit(cache=True, error_model="numpy", nogil=True)
def loop({arguments}):
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
        scalars: functions of scalars and numbers, by the names of operations.
    """
    is_slow = not formula.reduces_rows and any(each.operation in SLOW for each in formula.operations)
    is_empty = not formula.operations and not formula.sums
    if is_empty or is_slow or (formula.sums and formula.has_rows):
        return otherwise
    return _Loop(formula, overwrites).function(otherwise, scalars)


class _Loop:
    """The source of a loop, and of the function that calls it.

    Everything that does not depend on elements or rows is computed once, before the loop.
    """

    def __init__(self, formula: Formula, overwrites: int) -> None:
        self.formula = formula
        by_kind: dict[str, list[str]] = {}
        for name, symbol in formula.arguments.items():
            by_kind.setdefault(symbol.kind, []).append(name)
        self.arrays, self.rows = by_kind["array"], by_kind.get("row", [])
        self.scalars = by_kind.get("scalar", [])
        names = [*formula.names[:overwrites], *[f"result_{i}" for i in range(len(formula.results))]]
        self.outputs = dict(zip(names, formula.results, strict=False))
        self.new = [name for name in self.outputs if name not in self.arrays]
        self.numbers: dict[str, str] = {}  # the name of the argument of the loop, by its source
        self.columns: dict[str, str] = {}
        self.is_flat = (
            not self.rows
            and not formula.sums
            and all(
                each.kind not in ("row", "column") for step in formula.steps for each in (step, *step.symbols)
            )
        )

    def function(self, otherwise: Callable[..., Any], scalars: Mapping[str, Any]) -> Callable[..., Any]:
        """The function of the formula's arguments, which calls the compiled loop."""
        body = self._flat() if self.is_flat else self._by_rows()
        inner = [*self.arrays, *self.rows, *self.new, *self.columns.values(), *self.numbers.values()]
        head = HEAD.format(arguments=", ".join([*inner, "one", "zero"]))
        compiled = compiled_module(head + "".join([f"    {line}\n" for line in body])).loop

        first, given = self.arrays[0], ", ".join(self.formula.names)
        orders = "cf" if self.is_flat else "c"
        unfit = [
            f"({' and '.join([f'{name}.flags.{order}_contiguous' for name in self.arrays])})"
            for order in orders
        ]
        unfit = [f"not ({' or '.join(unfit)})", *[f"{name}.ndim" for name in self.scalars]]
        if self.formula.reduces_rows:
            unfit.append(f"{first}.shape[-1] > {SHORT}")
        if self.formula.sums:
            unfit.append(f"{first}.ndim != 2")
        flat = "ravel('K')" if self.is_flat else f"reshape(-1, {first}.shape[-1])"
        shapes = {"array": flat, "row": "reshape(-1)", "column": "reshape(-1)"}
        passed = [f"{name}.{flat}" for name in self.arrays]
        passed += [f"{name}.reshape(-1)" for name in self.rows]
        passed += [f"{name}.{shapes[self.outputs[name].kind]}" for name in self.new]
        passed += [f"np.asarray({source}, {first}.dtype)" for source in self.columns]
        passed += [f"number({source})" for source in [*self.numbers, "1", "0"]]
        lines = [
            f"if {' or '.join(unfit)}:",
            f"    return otherwise({given})",
            f"number = {first}.dtype.type",
            *[f"{name} = {self._new(self.outputs[name])}" for name in self.new],
            f"compiled({', '.join(passed)})",
            f"return {', '.join(self.outputs)}",
        ]
        scope = {**scalars, "compiled": compiled, "otherwise": otherwise, "np": np}
        return define(self.formula.names, lines, scope)

    def _new(self, result: Symbol) -> str:
        """The source of an array for a result."""
        first = self.arrays[0]
        if result.kind == "row":
            return f"np.empty((*{first}.shape[:-1], 1), {first}.dtype)"
        if result.kind == "column":
            return f"np.zeros({first}.shape[-1], {first}.dtype)"
        return f"np.empty_like({first})"  # in the same order in memory

    def _flat(self) -> list[str]:
        """One loop over all elements."""
        names: dict[Any, str] = {self.formula.arguments[name]: f"{name}_i" for name in self.arrays}
        lines = [f"{name}_i = {name}[i]" for name in self.arrays]
        for symbol in self.formula.steps:
            names[symbol] = f"x_{len(names)}"
            lines.append(f"{names[symbol]} = {self._expression(symbol, names)}")
        lines += [f"{name}[i] = {self._value(result, names)}" for name, result in self.outputs.items()]
        return [f"for i in range({self.arrays[0]}.size):", *_indented(lines)]

    def _by_rows(self) -> list[str]:
        """A loop over the rows, in each of which loops over its elements come one after the other.

        The first loop computes what depends on elements alone, the next one what depends on its reductions.
        An element that a later loop needs again is kept in an array of d.
        """
        steps = self.formula.steps
        level: dict[Symbol, int] = dict.fromkeys(self.formula.arguments.values(), 0)
        for symbol in steps:
            before = max([level.get(each, 0) for each in symbol.symbols], default=0)
            level[symbol] = before + (symbol.operation in REDUCTIONS)
        last: dict[Symbol, int] = {}  # the number of the last loop that reads a symbol
        for symbol in steps:
            for each in symbol.symbols:
                last[each] = max(last.get(each, 0), level[symbol] - (symbol.operation in REDUCTIONS))
        names: dict[Any, str] = {self.formula.arguments[name]: f"{name}[i, j]" for name in self.arrays}
        names |= {self.formula.arguments[name]: f"{name}[i]" for name in self.rows}
        kept: list[str] = []
        lines: list[str] = []
        n_loops = max(level.values(), default=0) + 1
        last |= dict.fromkeys(self.formula.results, n_loops - 1)
        for number in range(n_loops):
            here = [each for each in steps if level[each] == number]
            for symbol in here:
                if symbol.kind == "row" and symbol.operation not in REDUCTIONS:
                    names[symbol] = f"x_{len(names)}"
                    lines.append(f"{names[symbol]} = {self._expression(symbol, names)}")
            inner = []
            for symbol in here:
                if symbol.kind == "array":
                    names[symbol] = f"x_{len(names)}"
                    inner.append(f"{names[symbol]} = {self._expression(symbol, names)}")
            for symbol in steps:
                if symbol.operation in REDUCTIONS and level[symbol] == number + 1:
                    (operand,) = symbol.operands
                    names[symbol] = f"x_{len(names)}"
                    lines.append(f"{names[symbol]} = {START[symbol.operation]}")
                    if symbol.operation == "row_argmax":
                        lines.append(f"{names[symbol]}_of = -np.inf * one")
                    inner.append(MORE[symbol.operation].format(names[symbol], self._value(operand, names)))
            for symbol in here:
                if symbol.kind == "array" and last.get(symbol, 0) > number:
                    kept.append(f"kept_{len(kept)}")
                    inner.append(f"{kept[-1]}[j] = {names[symbol]}")
                    names[symbol] = f"{kept[-1]}[j]"
            if number == n_loops - 1:  # after all that reads an array which a result overwrites
                inner += [f"{name}[i, j] = {names[each]}" for name, each in self._outputs("array")]
                for name, each in self._outputs("column"):
                    terms = [self._value(operand, names) for operand in each.operands]
                    inner.append(f"{name}[j] += {' * '.join(terms)}")
            if inner:
                lines += ["for j in range(d):", *_indented(inner)]
        lines += [f"{name}[i] = {self._value(each, names)}" for name, each in self._outputs("row")]
        first = self.arrays[0]
        return [
            f"n, d = {first}.shape",
            *[f"{name} = np.empty(d, {first}.dtype)" for name in kept],
            "for i in range(n):",
            *_indented(lines),
        ]

    def _outputs(self, kind: str) -> list[tuple[str, Symbol]]:
        """The results of this kind, with the names of their arrays."""
        return [(name, result) for name, result in self.outputs.items() if result.kind == kind]

    def _expression(self, symbol: Symbol, names: Mapping[Any, str]) -> str:
        operands = [self._value(each, names) for each in symbol.operands]
        return WORDS[symbol.operation].format(*operands)

    def _value(self, operand: Any, names: Mapping[Any, str]) -> str:
        if operand in names:
            return names[operand]
        source = python(operand)
        if isinstance(operand, Symbol) and operand.kind == "column":
            return self.columns.setdefault(source, f"column_{len(self.columns)}") + "[j]"
        return self.numbers.setdefault(source, f"number_{len(self.numbers)}")


@functools.cache
def _tell() -> None:
    """Say, once and on a terminal, why the first steps on a machine take longer."""
    if sys.stderr is not None and sys.stderr.isatty():
        print("compiling loops with Numba: the first run here takes some seconds longer", file=sys.stderr)


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _folders() -> Iterator[Path]:
    """Where compiled loops are kept: in the user's cache, or else among the temporary files."""
    yield user_cache() / "fused"
    yield Path(tempfile.gettempdir()) / "xpnet-fused"


def compiled_module(source: str) -> ModuleType:
    """The source as a module in a file of the user's cache, where Numba keeps what it compiled of it."""
    name = "fused_" + hashlib.sha256(f"{__version__} {source}".encode()).hexdigest()[:16]
    for folder in _folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{name}.py"
            if not path.exists():
                _tell()
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
    raise BackendError("Numba: expected a folder to write loops to, got no cache and no temporary folder")
