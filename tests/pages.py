"""Helpers for the tests of README and xpnet/docs: code blocks of a page, and comparison of printed text."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "xpnet" / "docs" / "reference.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "xpnet" / "docs").glob("*.md"))]
WRITTEN = [page for page in PAGES if page != REFERENCE]
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")
TOKEN = re.compile(rf"{NUMBER.pattern}|.")


class Block(NamedTuple):
    """A fenced block: its language, its text, and the number of its first line."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    fenced = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], text[: m.start(2)].count("\n") + 1) for m in fenced]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[str]:
    """The lines of the shell blocks."""
    for block in blocks(page):
        if block.language == "sh":
            yield from filter(None, block.text.splitlines())


def differs(shown: str, printed: str) -> str:
    """The difference between the text on a page and the printed text; empty if they agree.

    `…` stands for anything. A number with a decimal point may differ by 2 in its last digit, and by 1%:
    libraries and machines round differently. Everything else must be equal, except for blanks.
    """
    pattern = "".join(map(_pattern, TOKEN.findall(" ".join(shown.split()))))
    match = re.fullmatch(pattern, " ".join(printed.split()))
    if match and all(map(_close, NUMBER.findall(shown), match.groups())):
        return ""
    return f"the page shows\n{shown}\nprinted was\n{printed}"


def _pattern(token: str) -> str:
    if NUMBER.fullmatch(token):
        return f"({NUMBER.pattern})"
    return ".*" if token == "…" else re.escape(token)


def _close(shown: str, printed: str) -> bool:
    if "." not in shown:
        return shown == printed
    tolerance = max(2 * unit(shown), 0.01 * abs(float(shown)))
    return abs(float(shown) - float(printed)) <= tolerance * (1 + 1e-9)


def unit(number: str) -> float:
    """One in the last digit of a number: 0.01 for 0.25, 1e-9 for 2.5e-8."""
    mantissa, _, exponent = number.partition("e")
    return 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
