"""Matplotlib for all pictures: its own defaults and the Agg canvas, whatever the user's settings are.

Import Matplotlib's names from here: a `matplotlibrc` that cannot be read, or an `MPLBACKEND` that does not
exist, makes Matplotlib's own import fail.
"""

# ruff: noqa: E402

import functools
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from unittest import mock


@contextmanager
def _silent() -> Iterator[None]:
    """Without warnings and log lines of Matplotlib: fonts, cache folders, glyphs."""
    logger = logging.getLogger("matplotlib")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


@contextmanager
def _without_settings() -> Iterator[None]:
    """Hide the user's `MPLBACKEND` and `matplotlibrc` from Matplotlib, and what a failed import left."""
    exists = os.path.exists
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]
    with (
        mock.patch.dict(os.environ, {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}),
        mock.patch("os.path.exists", lambda path: path != "matplotlibrc" and exists(path)),  # in this folder
    ):
        yield


with _silent():
    try:
        import matplotlib.figure
    except Exception:  # of any kind: the user's settings are at fault
        with _without_settings():
            import matplotlib.figure

from matplotlib import font_manager, ft2font, ticker
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

__all__ = [
    "COLORS",
    "FONT",
    "Axes",
    "Figure",
    "ListedColormap",
    "Picture",
    "PowerNorm",
    "Rectangle",
    "defaults",
    "font_file",
    "fonts_for",
    "letters_of",
    "one_line",
    "settings",
    "ticker",
    "whole_numbers",
]

FONT = "DejaVu Sans"  # bundled with Matplotlib
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00")
_LOCK = threading.RLock()


@contextmanager
def settings(texts: Iterable[str] = ()) -> Iterator[None]:
    """Matplotlib's default settings within the block, which one thread at a time enters.

    Arguments:
        texts: the texts of the picture, for which it finds fonts.
    """
    with _LOCK, matplotlib.rc_context():
        own = dict(matplotlib.rcParamsDefault)
        del own["backend"]  # pictures name theirs as they are saved
        matplotlib.rcParams.update(own | {"font.family": [FONT, *fonts_for("".join(texts))[0]]})
        yield


class Picture(Figure):
    """A figure that a notebook shows by itself, also before `%matplotlib inline`."""

    def png(self, dpi: float = 100) -> bytes:
        """The picture as the bytes of a PNG file."""
        file = io.BytesIO()
        with defaults():
            self.savefig(file, format="png", dpi=dpi, backend="agg")
        return file.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


@contextmanager
def defaults(texts: Iterable[str] = ()) -> Iterator[None]:
    """`settings`, without the warnings of Matplotlib: to make and save a picture."""
    with _silent(), settings(texts):
        yield


def fonts_for(text: str) -> tuple[list[str], set[str]]:
    """Installed fonts with the letters that `FONT` lacks, and the letters that no font has."""
    missing = {letter for letter in text if not letter.isascii()} - letters_of(font_manager.findfont(FONT))
    found: list[str] = []
    for entry in font_manager.fontManager.ttflist if missing else ():
        if entry.name.startswith("Last Resort") or "Emoji" in entry.name:
            continue  # boxes for all letters; pictures that FreeType cannot scale
        if has := missing & letters_of(entry.fname):
            found.append(entry.name)
            missing -= has
    return found, missing


def font_file(name: str, weight: str = "normal") -> str:
    """The file of an installed font."""
    return font_manager.findfont(font_manager.FontProperties(family=[name], weight=weight))


@functools.cache
def letters_of(path: str) -> set[str]:
    """The letters that the font in that file has."""
    try:
        return set(map(chr, ft2font.FT2Font(path).get_charmap()))
    except (RuntimeError, OSError):  # a damaged font, or one that was removed
        return set()


def one_line(text: str, most: int) -> str:
    """A text on one line of at most `most` characters, cut in the middle, with ? for what cannot be shown."""
    words, (_, missing) = " ".join(text.split()), fonts_for(text)
    text = "".join(letter if letter.isprintable() and letter not in missing else "?" for letter in words)
    if len(text) <= most:
        return text
    left = (most - 1) // 2
    return f"{text[:left]}…{text[len(text) - (most - 1 - left) :]}"


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers alone, also where it has only one."""
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1))
