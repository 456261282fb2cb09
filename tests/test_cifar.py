"""CIFAR: reading its binary and its pickled files, and unpacking the binary ones from their archive."""

import errno
import gzip
import hashlib
import http.server
import io
import os
import pickle
import re
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from data_files import check_arrays, fails
from xpnet.data import cifar, download, load

N = 4  # records a file, for the tests: the real ones have 10,000
FILES = (*cifar.TRAIN_FILES, cifar.TEST_FILE)
SIZE = N * cifar.RECORD


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(cifar, "RECORDS", N)


def small_records():
    """Six files of random records: (6, N, 3073) unsigned bytes."""
    records = np.random.default_rng(0).integers(0, 256, (len(FILES), N, cifar.RECORD), np.uint8)
    records[:, :, 0] %= 10
    return records


def small_files():
    return {file: records.tobytes() for file, records in zip(FILES, small_records(), strict=True)}


def write(folder, files):
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)


def tar(members):
    """A gzipped tar archive: bytes are a file, a string is a symbolic link to there, None is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if content is None:
                member.type = tarfile.DIRTYPE
            elif isinstance(content, str):
                member.type, member.linkname, member.size = tarfile.SYMTYPE, content, SIZE
            else:
                member.size = len(content)
            archive.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return gzip.compress(buffer.getvalue(), mtime=0)


def published():
    """An archive with the members of the published one, in the same order."""
    inside = {f"{cifar.UNPACKED}/{file}": content for file, content in small_files().items()}
    others = {
        f"{cifar.UNPACKED}": None,
        f"{cifar.UNPACKED}/batches.meta.txt": b"airplane\n",
        f"{cifar.UNPACKED}/readme.html": b"<html>",
    }
    return tar(sorted((others | inside).items(), reverse=True))


def put_archive(tmp_path, monkeypatch, content):
    """Put the archive where `load` looks for it, with its checksum as the published one."""
    write(tmp_path / "cifar10", {cifar.ARCHIVE: content})
    monkeypatch.setitem(download.SOURCES["cifar10"].md5, cifar.ARCHIVE, hashlib.md5(content).hexdigest())


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


# Files that load


@pytest.mark.parametrize("subfolder", ["", cifar.UNPACKED])
def test_binary_files(tmp_path, subfolder):
    write(tmp_path / "cifar10" / subfolder, small_files())
    dataset = load("cifar10", tmp_path, download=False)
    assert (dataset.name, dataset.classes) == ("cifar10", 10)
    assert dataset.class_names == cifar.CLASS_NAMES
    check_arrays(dataset.train, (5 * N, 32, 32, 3), 10)
    check_arrays(dataset.test, (N, 32, 32, 3), 10)
    records = small_records().reshape(-1, cifar.RECORD)
    x = np.concatenate([dataset.train.x, dataset.test.x])
    np.testing.assert_array_equal(np.concatenate([dataset.train.y, dataset.test.y]), records[:, 0])
    for n, row, column, channel in np.random.default_rng(1).integers(0, (6 * N, 32, 32, 3), (500, 4)):
        byte = records[n, 1 + 1024 * channel + 32 * row + column]
        assert x[n, row, column, channel] == np.float32(byte) / np.float32(255)


def test_a_file_in_each_of_the_two_places(tmp_path):
    files = small_files()
    write(tmp_path / "cifar10", {file: files[file] for file in FILES[:2]})
    write(tmp_path / "cifar10" / cifar.UNPACKED, {file: files[file] for file in FILES[2:]})
    assert (
        load("cifar10", tmp_path, download=False).train.y.tolist()
        == small_records()[:5, :, 0].ravel().tolist()
    )


# Damaged files

DAMAGE = {
    "empty": (lambda b: b"", f"truncated: expected {SIZE} bytes for 4 images, got 0$"),
    "cut": (lambda b: b[:-1], f"truncated: expected {SIZE} bytes for 4 images, got {SIZE - 1}$"),
    "trailing": (lambda b: b + b"\n", f"expected the end at byte {SIZE} after 4 images, got more bytes$"),
    "label": (
        lambda b: b[: 2 * cifar.RECORD] + b"\x0a" + b[2 * cifar.RECORD + 1 :],
        "byte 6146: expected the label of image 2, 0 to 9, got 10$",
    ),
}


@pytest.mark.parametrize("file", [FILES[2], FILES[5]])
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_file(tmp_path, case, file):
    damage, message = DAMAGE[case]
    files = small_files()
    write(tmp_path / "cifar10", files | {file: damage(files[file])})
    with fails(f"^{re.escape(str(tmp_path / 'cifar10' / file))}: {message}"):
        load("cifar10", tmp_path)


def test_folder_in_the_place_of_a_file(tmp_path):
    write(tmp_path / "cifar10", small_files())
    (tmp_path / "cifar10" / FILES[0]).unlink()
    (tmp_path / "cifar10" / FILES[0]).mkdir()
    with fails(f"{FILES[0]}: Is a directory$"):
        load("cifar10", tmp_path)


# The archive


def test_archive_is_unpacked_once(tmp_path, monkeypatch):
    put_archive(tmp_path, monkeypatch, published())
    assert len(load("cifar10", tmp_path, download=False).train.y) == 5 * N
    assert tree(tmp_path / "cifar10") == sorted(
        [cifar.ARCHIVE, *(os.path.join(cifar.UNPACKED, file) for file in FILES)]
    )
    for file, content in small_files().items():
        assert (tmp_path / "cifar10" / cifar.UNPACKED / file).read_bytes() == content
    (tmp_path / "cifar10" / cifar.ARCHIVE).unlink()
    assert len(load("cifar10", tmp_path, download=False).test.y) == N


def test_only_what_is_missing_is_unpacked(tmp_path, monkeypatch):
    put_archive(tmp_path, monkeypatch, published())
    mine = small_records()[1].copy()
    mine[:, 0] = 7
    write(tmp_path / "cifar10", {FILES[0]: mine.tobytes()})
    assert load("cifar10", tmp_path).train.y[:N].tolist() == [7] * N
    assert not (tmp_path / "cifar10" / cifar.UNPACKED / FILES[0]).exists()


@pytest.mark.parametrize(
    "members",
    [
        [("../outside", bytes(SIZE)), (f"../{FILES[0]}", bytes(SIZE)), (FILES[0], bytes(SIZE))],
        [
            (f"{cifar.UNPACKED}/../../{FILES[0]}", bytes(SIZE)),
            (f"./{cifar.UNPACKED}/{FILES[0]}", bytes(SIZE)),
        ],
        [(cifar.UNPACKED, "/tmp"), (f"{cifar.UNPACKED}/{FILES[0]}", "/etc/passwd")],
        [(f"{cifar.UNPACKED}/{FILES[0]}", None)],
        [(f"{cifar.UNPACKED}/{FILES[0]}", bytes(SIZE - 1)), (f"{cifar.UNPACKED}/x", bytes(SIZE))],
        [],
    ],
)
def test_archive_with_other_members(tmp_path, monkeypatch, members):
    put_archive(tmp_path / "data", monkeypatch, tar(members))
    with fails(
        f"{cifar.ARCHIVE}: expected a file {cifar.UNPACKED}/{FILES[0]} of {SIZE} bytes in it, got none$"
    ):
        load("cifar10", tmp_path / "data")
    assert tree(tmp_path) == [os.path.join("data", "cifar10", cifar.ARCHIVE)]


def test_absolute_path_in_the_archive(tmp_path, monkeypatch):
    put_archive(tmp_path, monkeypatch, tar([(f"{tmp_path}/evil", bytes(SIZE))]))
    with fails("expected a file"):
        load("cifar10", tmp_path)
    assert not (tmp_path / "evil").exists()


def test_damaged_archive_is_reported_not_replaced(tmp_path):
    content = published()
    write(tmp_path / "cifar10", {cifar.ARCHIVE: content})
    md5 = hashlib.md5(content).hexdigest()
    with fails(
        f"{cifar.ARCHIVE}: expected a file with the MD5 sum c32a1d4ab5d03f1284b67883e8d87530, got {md5}$"
    ):
        load("cifar10", tmp_path)
    assert tree(tmp_path / "cifar10") == [cifar.ARCHIVE]
    assert (tmp_path / "cifar10" / cifar.ARCHIVE).read_bytes() == content


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
def test_interrupted_unpacking_leaves_whole_files_only(tmp_path, monkeypatch, error):
    put_archive(tmp_path, monkeypatch, published())
    copies = []

    def interrupted(source, target):
        copies.append(target)
        target.write(source.read(SIZE if len(copies) < 3 else 100))
        if len(copies) == 3:
            raise error

    with monkeypatch.context() as patch:
        patch.setattr("shutil.copyfileobj", interrupted)
        if isinstance(error, OSError):
            with fails(f"{cifar.ARCHIVE}: cannot be unpacked .{os.strerror(errno.ENOSPC)}.$"):
                load("cifar10", tmp_path)
        else:
            with pytest.raises(KeyboardInterrupt):
                load("cifar10", tmp_path)
    left = list((tmp_path / "cifar10" / cifar.UNPACKED).iterdir())
    assert len(left) == 2
    assert all(path.read_bytes() == small_files()[path.name] for path in left)
    assert len(load("cifar10", tmp_path, download=False).train.y) == 5 * N


def test_folder_for_the_files_cannot_be_made(tmp_path, monkeypatch):
    put_archive(tmp_path, monkeypatch, published())
    (tmp_path / "cifar10" / cifar.UNPACKED).write_text("in the way")
    with fails(f"{cifar.UNPACKED}.*: cannot be unpacked .(File exists|Not a directory).$"):
        load("cifar10", tmp_path)


# Downloading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        good = self.path == f"/good/{cifar.ARCHIVE}"
        self.send_response(200 if good else 404)
        self.end_headers()
        self.wfile.write(published() if good else b"")

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        mirrors = tuple(f"http://127.0.0.1:{server.server_port}/{name}/" for name in ("missing", "good"))
        md5 = {cifar.ARCHIVE: hashlib.md5(published()).hexdigest()}
        monkeypatch.setitem(download.SOURCES, "cifar10", download.Source(mirrors, md5))
        yield server
        server.shutdown()
        thread.join()


def test_download_once(tmp_path, server):
    assert len(load("cifar10", tmp_path).train.y) == 5 * N
    assert server.requests == [f"/{mirror}/{cifar.ARCHIVE}" for mirror in ("missing", "good")]
    for path in (tmp_path / "cifar10" / cifar.UNPACKED).iterdir():
        path.unlink()
    load("cifar10", tmp_path)  # from the archive
    (tmp_path / "cifar10" / cifar.ARCHIVE).unlink()
    load("cifar10", tmp_path)
    assert len(server.requests) == 2


def test_download_is_off(tmp_path, server):
    way_out = (
        r"put the files of cifar10 there, or name the folder .* with the --data-dir option or \$XPNET_DATA"
    )
    with fails(f"^{tmp_path / 'cifar10'}: data_batch_1.bin is missing: {way_out}$"):
        load("cifar10", tmp_path, download=False)
    write(tmp_path / "cifar10", {file: small_files()[file] for file in FILES[:-1]})
    with fails(f"^{tmp_path / 'cifar10'}: test_batch.bin is missing: {way_out}$"):
        load("cifar10", tmp_path, download=False)
    assert server.requests == []


def test_no_mirror_has_it(tmp_path, server, monkeypatch):
    monkeypatch.setattr(cifar, "ARCHIVE", "other.tar.gz")
    monkeypatch.setitem(download.SOURCES["cifar10"].md5, "other.tar.gz", "0" * 32)
    with fails(
        r"cifar10: data_batch_1.bin is missing, no mirror has it \(.*HTTP status 404.*\): put the files"
    ):
        load("cifar10", tmp_path)
    assert tree(tmp_path / "cifar10") == []


# CIFAR-100


def test_cifar100_has_two_labels_a_record(tmp_path):
    rng = np.random.default_rng(0)
    files = {
        "train.bin": rng.integers(0, 100, (5 * N, 3074), np.uint8),
        "test.bin": rng.integers(0, 100, (N, 3074), np.uint8),
    }
    for folder in ("cifar100", "cifar100/cifar-100-binary", "cifar-100-binary", "."):
        place = tmp_path / folder.replace("/", "-and-").replace(".", "root")
        write(place / folder, {name: records.tobytes() for name, records in files.items()})
        dataset = load("cifar100", place, download=False)
        np.testing.assert_array_equal(dataset.train.y, files["train.bin"][:, 1])
        planes = files["test.bin"][:, 2:].reshape(N, 3, 32, 32)
        np.testing.assert_allclose(dataset.test.x, planes.transpose(0, 2, 3, 1) / 255, rtol=1e-6)
    assert dataset.class_names[:2] + dataset.class_names[-1:] == ("apple", "aquarium_fish", "worm")
    files["train.bin"][3, 1] = 100
    write(tmp_path / "wrong" / "cifar100", {name: records.tobytes() for name, records in files.items()})
    with fails(f"train.bin: byte {3 * 3074 + 1}: expected the label of image 3, 0 to 99, got 100"):
        load("cifar100", tmp_path / "wrong")


def test_cifar100_out_of_its_archive(tmp_path, monkeypatch):
    sizes = {"train.bin": 5 * N, "test.bin": N}
    members = [(f"cifar-100-binary/{name}", bytes(records * 3074)) for name, records in sizes.items()]
    content = tar(members)
    write(tmp_path / "cifar100", {"cifar-100-binary.tar.gz": content})
    md5 = {"cifar-100-binary.tar.gz": hashlib.md5(content).hexdigest()}
    monkeypatch.setitem(download.SOURCES, "cifar100", download.Source(("http://127.0.0.1:9/",), md5))
    assert len(load("cifar100", tmp_path, download=False).train.y) == 5 * N


# The Python version


def batch(seed: int, label: str = "labels", classes: int = 10) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (N, 3072), np.uint8)
    return {"data": pixels, label: rng.integers(0, classes, N).tolist(), "filenames": ["a.png"] * N}


def python_version(folder: Path, protocol: int, keys: type = str) -> list[dict[str, object]]:
    batches = [batch(i) for i in range(6)]
    folder.mkdir(parents=True)
    for file, content in zip(FILES, batches, strict=True):
        named = {key.encode() if keys is bytes else key: value for key, value in content.items()}
        (folder / file.removesuffix(".bin")).write_bytes(pickle.dumps(named, protocol))
    return batches


@pytest.mark.parametrize("folder", ["cifar10", "cifar-10-batches-py", "cifar10/cifar-10-batches-py"])
@pytest.mark.parametrize(("protocol", "keys"), [(0, str), (2, bytes), (2, str), (4, bytes), (5, str)])
def test_python_version(tmp_path, folder, protocol, keys):
    batches = python_version(tmp_path / folder, protocol, keys)
    dataset = load("cifar10", tmp_path, download=False)
    check_arrays(dataset.train, (5 * N, 32, 32, 3), 10)
    np.testing.assert_array_equal(dataset.test.y, batches[-1]["labels"])
    planes = batches[-1]["data"].reshape(N, 3, 32, 32)
    np.testing.assert_allclose(dataset.test.x, planes.transpose(0, 2, 3, 1) / 255, rtol=1e-6)


@pytest.mark.parametrize("folder", ["cifar10", "."])
def test_python_version_in_its_archive(tmp_path, folder):
    python_version(tmp_path / "unpacked", 2)
    members = [
        (f"cifar-10-batches-py/{path.name}", path.read_bytes()) for path in (tmp_path / "unpacked").iterdir()
    ]
    write(tmp_path / folder, {"cifar-10-python.tar.gz": tar(members)})
    assert len(load("cifar10", tmp_path, download=False).train.y) == 5 * N
    write(tmp_path / folder, {"cifar-10-python.tar.gz": tar(members[1:])})
    with fails("cifar-10-python.tar.gz: cannot be unpacked .*not found"):
        load("cifar10", tmp_path, download=False)


def test_python_version_of_cifar100(tmp_path):
    (tmp_path / "cifar-100-python").mkdir()
    for seed, name in enumerate(("train", "test")):
        content = batch(seed, "fine_labels", 100) | {"coarse_labels": [0] * N}
        (tmp_path / "cifar-100-python" / name).write_bytes(pickle.dumps(content, 2))
    dataset = load("cifar100", tmp_path, download=False)
    assert dataset.test.y.tolist() == batch(1, "fine_labels", 100)["fine_labels"]


class Dangerous:
    def __reduce__(self):
        return os.system, ("touch ran",)


PICKLES = {
    "code": (
        lambda: pickle.dumps({"data": Dangerous()}),
        r"the file asks for posix.system, which is not run|nt.system",
    ),
    "code beside data": (lambda: pickle.dumps(batch(0) | {"more": Dangerous()}), "which is not run"),
    "another array": (
        lambda: pickle.dumps(batch(0) | {"data": np.zeros((N, 3072))}),
        "other numbers than bytes",
    ),
    "objects": (lambda: pickle.dumps(batch(0) | {"data": np.array([[None]])}), "other numbers than bytes"),
    "another shape": (
        lambda: pickle.dumps(batch(0) | {"data": np.zeros((N, 9), np.uint8)}),
        "expected images of 3072",
    ),
    "no list": (lambda: pickle.dumps([1, 2]), "expected a batch of CIFAR images"),
    "no labels": (
        lambda: pickle.dumps({"data": batch(0)["data"]}),
        "expected a batch of CIFAR images: KeyError",
    ),
    "few labels": (
        lambda: pickle.dumps(batch(0) | {"labels": [1]}),
        f"expected {N} labels, got int64 of shape",
    ),
    "large labels": (
        lambda: pickle.dumps(batch(0) | {"labels": [10] * N}),
        "expected labels from 0 to 9, got 10 to 10",
    ),
    "cut off": (lambda: pickle.dumps(batch(0))[:-9], "expected a batch of CIFAR images"),
    "empty": (lambda: b"", "expected a batch of CIFAR images"),
    "no pickle": (lambda: b"<html>", "expected a batch of CIFAR images"),
}


@pytest.mark.parametrize("case", PICKLES)
def test_damaged_python_version(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    python_version(tmp_path / "cifar10", 2)
    make, message = PICKLES[case]
    (tmp_path / "cifar10" / "data_batch_2").write_bytes(make())
    with fails(f"data_batch_2: .*({message})"):
        load("cifar10", tmp_path, download=False)
    assert not (tmp_path / "ran").exists()
