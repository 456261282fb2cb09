"""Output that never fails a run: without a reader, on a full disk, or in a narrow encoding."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# What help and messages use beyond ASCII, for encodings other than UTF.
PLAIN = str.maketrans(
    {
        **{"η": "eta ", "λ": "lambda ", "μ": "mu ", "β": "beta ", "Σ": "sum ", "Φ": "Phi", "√": "sqrt "},
        **{"²": "^2", "·": "*", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "→": "->", "⁻": "^-", "₁": "1"},
        **{"–": "-", "—": "-", "…": "...", "“": '"', "”": '"', "‘": "'", "’": "'", "✓": "+", "✗": "-"},
    }
)


class Patient:
    """A text stream that writes what it can: other characters are escaped, and errors cost the text only."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        encoding = getattr(self.stream, "encoding", None) or "utf-8"
        with suppress(OSError, ValueError):  # ValueError: the stream is closed
            if not encoding.lower().startswith("utf"):
                text = text.translate(PLAIN)
            self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def say(text: str, *, error: bool = False) -> None:
    """Print a line on standard output, or on standard error, and flush it."""
    stream = sys.stderr if error else sys.stdout
    if stream is not None:  # the process was started with it
        print(text, file=Patient(stream), flush=True)


def deliver(text: str) -> None:
    """Write the result of a program on standard output, whole, unless its reader wants no more.

    Raises OSError where it cannot be written: a full disk must not pass for success.
    """
    stream = sys.stdout.stream if isinstance(sys.stdout, Patient) else sys.stdout
    if stream is None:
        raise OSError("standard output is closed")
    encoding = stream.encoding or "utf-8"
    with suppress(BrokenPipeError):
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


@contextmanager
def patient() -> Iterator[None]:
    """Make standard output and standard error `Patient` within the block, and flush them at its end."""
    streams: dict[str, Any] = {name: getattr(sys, name) for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        if stream is not None:
            setattr(sys, name, Patient(stream))
    if sys.stderr is None:  # progress bars need one
        sys.stderr = io.StringIO()
    try:
        yield
    finally:
        for name, stream in streams.items():
            setattr(sys, name, stream)
            if stream is not None:
                _drain(stream)


def _drain(stream: Any) -> None:
    """Flush the stream. If nobody reads it, drop the rest: Python would fail on it at the process's end."""
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())
