"""Fuzz the readers of files, guided by coverage: `python tests/fuzz_files.py READER CORPUS_FOLDER -runs=10000`.

Atheris mutates the files in the folder, and keeps files that make the reader run new lines. Every file must be
readable or raise an `xpnet.Error` of one line; anything else ends the program with status 77.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["xpnet"]):
    import xpnet
    from xpnet import checkpoint, files
    from xpnet.data import arrays, cifar, cifar_python, csv, idx

cifar.RECORDS = 2  # images in a file, instead of 10,000
READERS: dict[str, Callable[[Path], object]] = {
    "idx": lambda path: idx.read(path, (28, 28)),
    "csv": lambda path: csv.read("csv", path, path, csv.Options()),
    "pickle": lambda path: cifar_python.read(path, path.read_bytes(), "labels", 10),
    "arrays": lambda path: arrays.read("npz", [path], None, 0.2),
    "cifar": lambda path: cifar.read([path]),
    "parameters": lambda path: files.load_arrays(path, {"0.weight": (4, 3), "0.bias": (3,)}),
    "checkpoint": checkpoint.read,
}


def main(arguments: list[str]) -> None:
    read = READERS[arguments.pop(1)]
    path = Path(tempfile.mkdtemp()) / "file"

    def one_file(content: bytes) -> None:
        path.write_bytes(content)
        try:
            read(path)
        except xpnet.Error as error:
            if len(str(error).splitlines()) != 1:
                raise AssertionError("an answer of several lines") from error

    atheris.Setup(arguments, one_file)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
