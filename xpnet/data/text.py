"""The text of a data file, unpacked, in UTF-8, with "\\n" at the ends of lines; other kinds are named."""

import bz2
import codecs
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from xpnet.errors import DataError

UNPACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ": lzma.decompress,
}
MARKS = {  # byte order marks; that of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
OTHERS = {
    b"\x93NUMPY": "an array of NumPy: name it npy:FILE",
    b"PAR1": "a Parquet file: write it as CSV",
    b"\x89HDF": "an HDF5 file: write it as CSV",
    b"\x89PNG": "a picture: name its folder, folder:DIR",
    b"\xff\xd8\xff": "a picture: name its folder, folder:DIR",
    b"\x80": "a pickle, which could run any code: write it as CSV",
    b"\x00\x00\x08": "an idx file",
    b"\x28\xb5\x2f\xfd": "packed with zstd: unpack it first",
    b"<": "a web page or XML: download the file itself",
    b"version https://git-lfs": "the name of a file that Git LFS keeps: run `git lfs pull`",
    b"@relation": "an ARFF file: write it as CSV",
    b"@RELATION": "an ARFF file: write it as CSV",
    b"{": "JSON: write it as CSV",
}


def read(path: Path) -> bytes:
    """The text of a file, which gzip, bzip2, xz or zip may have packed, in UTF-8, UTF-16, UTF-32 or Latin-1.

    Raises DataError where the file is unreadable, damaged, or of another kind, which the message names.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    data = _unpacked(path, data)
    for start, what in OTHERS.items():
        if data.startswith(start):
            raise DataError(f"{path}: expected rows of numbers, got {what}")
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            try:
                data = data.decode(encoding).encode()
            except UnicodeDecodeError as error:
                raise DataError(f"{path}: byte {error.start}: expected {encoding} text") from error
            break
    if len(data) > 3 and not any(data[1:100:2]):  # UTF-16 without a mark
        data = data.decode("utf-16-le", "replace").encode()
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return data


def _unpacked(path: Path, data: bytes) -> bytes:
    for start, unpack in UNPACK.items():
        if data.startswith(start):
            try:
                return unpack(data)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                raise DataError(f"{path}: damaged {unpack.__module__} stream: {error}") from error
    if not data.startswith(b"PK\x03\x04"):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if "[Content_Types].xml" in names:
                raise DataError(f"{path}: expected rows of numbers, got an Excel workbook: save it as CSV")
            if len(names) > 1:
                raise DataError(
                    f"{path}: expected a zip archive of one file, got {len(names)}, "
                    f"{', '.join(names[:3])}: unpack it first"
                )
            return archive.read(names[0]) if names else b""
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path}: damaged zip archive: {error}") from error


def decode(text: bytes) -> str:
    """Text as a string: UTF-8, else Latin-1, which older spreadsheets write."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
