"""Laws, and the report of a check: a readable table and a score."""

import textwrap
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xpnet.backend import DTYPES, Backend
from xpnet.errors import Error

OK, FAIL, NOT_TRIED = "ok", "FAIL", "-"
WIDTH, INDENT = 100, " " * 5  # of the reasons below the table
METHODS = ("init", "forward", "backward", "parameter_gradients", "update", "output_shape")


class LawError(AssertionError):
    """Raised if a law does not hold. The message names the fault and the way out, in one line."""


class Law(NamedTuple):
    """A property that every layer, loss, optimizer or backend must have.

    Fields:
        name: the property, "arguments are not modified".
        check: the function (subject, backend) -> None. Raises LawError if the law does not hold.
        dtypes: the dtypes to check it in.
        on_host: whether to check it on NumPy alone, because other libraries cannot change the result.
        needed: whether to skip the laws after it if it does not hold.
    """

    name: str
    check: Callable[[Any, Backend], None]
    dtypes: tuple[str, ...] = DTYPES
    on_host: bool = False
    needed: bool = False

    def __str__(self) -> str:
        return self.name


class Result(NamedTuple):
    """The result of one law on one library.

    Fields:
        law: the name of the law.
        library: the name of the backend; empty for a law that is checked on NumPy alone.
        outcome: "ok", "FAIL", or "-" if the law was skipped.
        fault: the reason of a FAIL, else empty.
    """

    law: str
    library: str
    outcome: str
    fault: str = ""


@dataclass(frozen=True, repr=False)
class Report:
    """The report of a check: shown as a table of laws × libraries, with the reasons of faults below.

    Fields:
        title: the check and its subject.
        results: one result for each law and library.
        notes: hints that are not faults.

    Attributes:
        passed, total: the number of results that are "ok", and of all results.
        ok: whether all results are "ok".
        faults: one line for each law that does not hold, with the libraries on which it fails.
    """

    title: str
    results: tuple[Result, ...]
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> int:
        return sum(result.outcome == OK for result in self.results)

    @property
    def total(self) -> int:
        return len(self.results)

    @property
    def ok(self) -> bool:
        return self.passed == self.total

    @property
    def faults(self) -> tuple[str, ...]:
        return tuple(f"{heading}: {fault}" for heading, fault in self._faults().items())

    def __str__(self) -> str:
        columns = list(dict.fromkeys(result.library for result in self.results if result.library)) or [""]
        rows: dict[str, dict[str, str]] = {}
        for result in self.results:
            rows.setdefault(result.law, {})[result.library or columns[0]] = result.outcome
        width = max(map(len, rows), default=0)
        widths = [max(len(column), len(FAIL)) for column in columns]
        head = " ".join(["".ljust(width), *(c.center(w) for c, w in zip(columns, widths, strict=True))])
        lines = [self.title, "", head]
        for law, cells in rows.items():
            shown = [cells.get(c, "").center(w) for c, w in zip(columns, widths, strict=True)]
            lines.append(" ".join([law.ljust(width), *shown]))
        lines += ["", f"{self.passed} of {self.total} passed"]
        for heading, fault in self._faults().items():
            lines += ["", f"FAIL {heading}", *_indented(fault)]
        for note in self.notes:
            lines += ["", *textwrap.wrap(f"Note: {note}", WIDTH)]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _faults(self) -> dict[str, str]:
        """The reason of each fault, by "law (libraries)"."""
        libraries: dict[tuple[str, str], list[str]] = {}
        for law, library, outcome, fault in self.results:
            if outcome == FAIL:
                libraries.setdefault((law, fault), []).append(library)
        return {
            f"{law}{f' ({where})' if (where := ', '.join(filter(None, names))) else ''}": fault
            for (law, fault), names in libraries.items()
        }

    def require(self) -> "Report":
        """The report itself. Raises LawError, with one line per fault, unless all results are "ok"."""
        if self.ok:
            return self
        faults = "".join(f"\n  {fault}" for fault in self.faults)
        raise LawError(f"{self.title}: {self.passed} of {self.total} passed{faults}")


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


MakeBackend = Callable[[str], Backend]  # from a dtype


def try_laws(
    laws: Iterable[Law],
    subject: Any,
    places: Sequence[tuple[str, MakeBackend]],
    dtypes: Sequence[str] = DTYPES,
    suffix: str = "",
    host: MakeBackend | None = None,
) -> list[Result]:
    """Check the laws for a subject on some libraries, and return the results.

    Arguments:
        laws: the laws, in order.
        subject: the first argument of each law's check.
        places: pairs (name of the library, function from a dtype to its backend).
        dtypes: the dtypes to use. A law that supports none of them uses its own first dtype.
        suffix: a suffix for the names of the laws.
        host: the function from a dtype to the backend for laws with `on_host`.
    """
    results: list[Result] = []
    stopped: set[str] = set()
    for law in laws:
        where = [("", host)] if law.on_host and host else places
        for library, make in where:
            name = law.name + suffix
            if {"", library} & stopped or stopped.issuperset(place for place, _ in places):
                results.append(Result(name, library, NOT_TRIED))
                continue
            fault = _try(law, subject, make, dtypes)
            results.append(Result(name, library, FAIL if fault else OK, fault))
            if fault and law.needed:
                stopped.add(library)
    return results


def _try(law: Law, subject: Any, make: MakeBackend, dtypes: Sequence[str]) -> str:
    """The fault in one line; empty if the law holds."""
    for dtype in [d for d in law.dtypes if d in dtypes] or law.dtypes[:1]:
        try:
            law.check(subject, make(dtype))
        except Exception as error:
            fault = _one_line(error)
            return f"{fault} [in {dtype}]" if len(law.dtypes) > 1 and not law.on_host else fault
    return ""


def _one_line(error: Exception) -> str:
    """The error's message. For errors that xpnet did not raise itself, also the type and the place."""
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError | Error) and text:
        return text
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.name in METHODS), frames[-1])
    return f"{type(error).__name__}: {text} (in {frame.name}, line {frame.lineno}: {frame.line})"
