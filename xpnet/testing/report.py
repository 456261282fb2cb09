"""Laws, and the report of which of them hold: a table that a person reads, and a score."""

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
    """A law does not hold. The message names the fault and the way out, in one line."""


class Law(NamedTuple):
    """Something that is true of every layer, loss, optimizer or backend.

    Fields:
        name: what holds, "backward leaves its arguments alone".
        check: called with the subject, as the module of the law prepares it, and a backend. Raises LawError.
        dtypes: those in which it is checked.
        on_host: whether NumPy alone decides, since no array of another library takes part.
        needed: whether the laws after it make no sense where it does not hold.
    """

    name: str
    check: Callable[[Any, Backend], None]
    dtypes: tuple[str, ...] = DTYPES
    on_host: bool = False
    needed: bool = False

    def __str__(self) -> str:
        return self.name


class Result(NamedTuple):
    """What came of one law on one library.

    Fields:
        law: its name.
        library: the backend's name; empty for a law that concerns no library.
        outcome: "ok", "FAIL" or, after a needed law that does not hold, "-".
        fault: the reason of a FAIL, else empty.
    """

    law: str
    library: str
    outcome: str
    fault: str = ""


@dataclass(frozen=True)
class Report:
    """What a check found. `str` of it is a table of laws × libraries with the reasons below.

    Fields:
        title: what was checked.
        results: one for each law and library.
        notes: what is no fault but worth knowing.

    Attributes:
        passed, total: the score: of how many results, how many are "ok".
        ok: whether all are.
        faults: a line for each law that does not hold, with the libraries on which it does not.
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

    def _faults(self) -> dict[str, str]:
        """The reason of each fault by the law's name with the libraries on which it does not hold."""
        libraries: dict[tuple[str, str], list[str]] = {}
        for law, library, outcome, fault in self.results:
            if outcome == FAIL:
                libraries.setdefault((law, fault), []).append(library)
        return {
            f"{law}{f' ({where})' if (where := ', '.join(filter(None, names))) else ''}": fault
            for (law, fault), names in libraries.items()
        }

    def require(self) -> "Report":
        """The report itself; LawError with a line for each fault unless all is ok."""
        if self.ok:
            return self
        faults = "".join(f"\n  {fault}" for fault in self.faults)
        raise LawError(f"{self.title}: {self.passed} of {self.total} passed{faults}")


def _indented(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT)


Make = Callable[[str], Backend]  # from a dtype


def try_laws(
    laws: Iterable[Law],
    subject: Any,
    places: Sequence[tuple[str, Make]],
    dtypes: Sequence[str] = DTYPES,
    suffix: str = "",
    host: Make | None = None,
) -> list[Result]:
    """The results of the laws for a subject on some libraries.

    Arguments:
        laws: in the order to try them.
        subject: the first argument of each law.
        places: for each library its name and what makes its backend in a dtype.
        dtypes: those to try; a law that is for another one alone is tried in that.
        suffix: added to the names of the laws.
        host: makes the backend for laws that concern no library.
    """
    results: list[Result] = []
    stopped: set[str] = set()
    for law in laws:
        where = [("", host)] if law.on_host and host else places
        for library, make in where:
            name = law.name + suffix
            if "" in stopped or library in stopped:
                results.append(Result(name, library, NOT_TRIED))
                continue
            fault = _try(law, subject, make, dtypes)
            results.append(Result(name, library, FAIL if fault else OK, fault))
            if fault and law.needed:
                stopped.add(library)
    return results


def _try(law: Law, subject: Any, make: Make, dtypes: Sequence[str]) -> str:
    """What is wrong, in one line; empty if the law holds."""
    for dtype in [d for d in law.dtypes if d in dtypes] or law.dtypes[:1]:
        try:
            law.check(subject, make(dtype))
        except Exception as error:
            fault = _one_line(error)
            return f"{fault} [in {dtype}]" if len(law.dtypes) > 1 and not law.on_host else fault
    return ""


def _one_line(error: Exception) -> str:
    """The message; of an error that xpnet did not raise on purpose, also its type, and where it arose."""
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError | Error) and text:
        return text
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if frame.name in METHODS), frames[-1])
    return f"{type(error).__name__}: {text} (in {frame.name}, line {frame.lineno}: {frame.line})"
