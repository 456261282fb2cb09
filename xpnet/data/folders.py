"""Data sets of pictures: a folder for each class, in it PNG or JPEG files, read by Pillow."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xpnet.data import splits
from xpnet.data.dataset import Dataset, Examples, Preparation
from xpnet.errors import DataError
from xpnet.random import generator

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm")
TRAIN, TEST = ("train", "training"), ("test", "testing", "valid", "validation", "val")  # names of folders
MODES = {1: "L", 3: "RGB"}  # of Pillow, by channels
LARGEST = 1 << 31  # bytes of all pictures


def read(name: str, folder: Path, shape: tuple[int, ...] | None, test: float) -> Dataset:
    """The data set in a folder with a folder for each class, or with `train` and `test` folders of these.

    The training examples are shuffled, always in the same way, so that no class comes last.

    Arguments:
        shape: (height, width, channels) that all pictures are brought to; None: that of the first picture,
            and one of another size is refused.
        test: the share of each class that becomes test examples where there is no folder for them.

    Raises DataError where a folder or a picture is missing, unreadable or of another size.
    """
    parts = {part: _part(folder, names) for part, names in (("train", TRAIN), ("test", TEST))}
    train = parts["train"] or folder
    classes = _classes(train)
    if len(classes) < 2:
        raise DataError(f"{train}: expected a folder for each class, got {len(classes)} with pictures")
    paths, y = _files(train, classes)
    notes = [f"{len(classes)} classes: {', '.join(classes[:6])}{', …' if len(classes) > 6 else ''}"]
    if parts["test"]:
        unknown = sorted(set(_classes(parts["test"])) - set(classes))
        if unknown:
            raise DataError(f"{parts['test'] / unknown[0]}: expected a class that {train} has")
        test_paths, test_y = _files(parts["test"], classes)
        order = generator(0, "folder").permutation(len(y))
        paths, y = [paths[i] for i in order], y[order]
    else:
        first, rest, note = splits.cut_off(y, test)
        test_paths, test_y = [paths[i] for i in rest], y[rest]
        paths, y = [paths[i] for i in first], y[first]
        notes.append(note)
    preparation = Preparation(shape or _shape(paths), resized=shape is not None)
    examples = Examples(pictures(paths, preparation.shape, resize=preparation.resized), y)
    other = Examples(pictures(test_paths, preparation.shape, resize=preparation.resized), test_y)
    return Dataset(name, examples, other, len(classes), tuple(classes), tuple(notes), preparation)


def pictures(
    paths: Sequence[Path],
    shape: tuple[int, ...],
    resize: bool,
    way_out: str = "shape={} brings all to one size",
) -> NDArray[np.float32]:
    """Pictures as images (n, height, width, channels) from 0 to 1.

    Raises DataError where one is unreadable, or of another size unless they are resized.
    """
    height, width, channels = shape
    if len(paths) * height * width * channels * 4 > LARGEST:
        raise DataError(
            f"{paths[0].parent}: {len(paths):,} pictures of {height}x{width}x{channels} need "
            f"{len(paths) * height * width * channels * 4 / 1e9:.1f} GB: make them smaller with shape=64x64x3"
        )
    x = np.empty((len(paths), *shape), np.float32)
    for i, path in enumerate(_shown(paths)):
        picture = open_(path)
        if picture.size != (width, height):
            if not resize:
                found, shown = f"{picture.height}x{picture.width}", f"{height}x{width}"
                raise DataError(
                    f"{path}: expected {shown} pixels as the others, got {found}: "
                    f"{way_out.format(f'{shown}x{channels}')}"
                )
            picture = picture.convert(MODES[channels]).resize((width, height))
        x[i] = np.asarray(picture.convert(MODES[channels]), np.uint8).reshape(shape)
    x /= 255
    return x


def open_(path: Path) -> Any:
    """The picture in a file, as Pillow has it; what is transparent lies on white, 16 bits become 8."""
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f"{path}: expected Pillow to read pictures: pip install pillow") from error
    try:
        with Image.open(path) as picture:
            picture.load()
            found: Any = picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.strerror:  # of the system, not of Pillow
            raise DataError(f"{path}: {error.strerror}") from error
        raise DataError(f"{path}: expected a picture, got a damaged file ({error})") from error
    if found.mode.startswith("I") or found.mode == "F":
        values = np.asarray(found, np.float64)
        return Image.fromarray(np.clip(values / (257 if values.max() > 255 else 1), 0, 255).astype(np.uint8))
    if "A" in found.mode or "transparency" in found.info:
        white = Image.new("RGBA", found.size, "white")
        white.alpha_composite(found.convert("RGBA"))
        return white.convert("RGB")
    return found


def _shape(paths: Sequence[Path]) -> tuple[int, ...]:
    """The size of the first picture; colours if any of the first pictures has them."""
    height, width = np.shape(open_(paths[0]))[:2]
    colours = any(_has_colours(open_(path)) for path in paths[:20])
    return height, width, 3 if colours else 1


def _has_colours(picture: Any) -> bool:
    rgb = np.asarray(picture.convert("RGB"))
    return bool((rgb != rgb[..., :1]).any())


def is_picture(path: Path) -> bool:
    """Whether a file's name is that of a picture."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _part(folder: Path, names: tuple[str, ...]) -> Path | None:
    found = {path.name.lower(): path for path in _entries(folder) if path.is_dir()}
    return next((found[name] for name in names if name in found), None)


def _classes(folder: Path) -> list[str]:
    """The names of the folders with pictures: 2 stands before 10."""
    names = [path.name for path in _entries(folder) if path.is_dir() and any(_pictures(path))]
    return sorted(names, key=in_order)


def in_order(name: str) -> list[Any]:
    """A key to sort names with numbers in them by these."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name) if part
    ]


def _files(folder: Path, classes: Sequence[str]) -> tuple[list[Path], NDArray[np.int64]]:
    files = [(path, i) for i, name in enumerate(classes) for path in _pictures(folder / name)]
    return [path for path, _ in files], np.array([i for _, i in files], np.int64)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(filter(is_picture, _entries(folder)), key=lambda path: in_order(path.name))


def _entries(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror or error}") from error


def _shown(paths: Sequence[Path]) -> Any:
    """The paths, with a progress bar on a terminal where there are many."""
    if len(paths) < 1000:
        return paths
    from tqdm import tqdm  # late: slow to import

    return tqdm(paths, desc="pictures", leave=False, disable=None, delay=1)
