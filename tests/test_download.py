"""Downloads: from the first mirror with an intact file, never leaving a partial file."""

import contextlib
import errno
import gzip
import hashlib
import http.server
import logging
import os
import socket
import threading

import platformdirs
import pooch
import pytest

from data_files import fails, small_files, write
from xpnet.data import cifar, datasets, download, load
from xpnet.errors import DataError

FILES = {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in small_files().items()}
MD5 = {file: hashlib.md5(content).hexdigest() for file, content in FILES.items()}
WAY_OUT = r"put the files of mnist there, or name the folder .* with the --data-dir option or \$XPNET_DATA"
IMAGES = "train-images-idx3-ubyte.gz"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves intact files under `/good/`, and one kind of damage under each other path."""

    def do_GET(self):
        self.server.requests.append(self.path)
        _, mirror, file = self.path.split("/")
        body = FILES[file]
        self.send_response(404 if mirror == "missing" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mirror == "corrupt":
            body = bytes(len(body))
        elif mirror == "broken-off":
            body = body[:-10]
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def mirrors(server, monkeypatch):
    """A function that sets the mirrors of MNIST and returns the list of requests."""
    server.requests.clear()
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(variable, "127.0.0.1")
    with socket.socket() as unused:  # bound but not listening, so that nobody answers
        unused.bind(("127.0.0.1", 0))

        def use(*names):
            ports = {"dead": unused.getsockname()[1]}
            urls = tuple(f"http://127.0.0.1:{ports.get(name, server.server_port)}/{name}/" for name in names)
            monkeypatch.setitem(download.SOURCES, "mnist", download.Source(urls, MD5))
            return server.requests

        yield use


def test_download_once(tmp_path, mirrors):
    requests = mirrors("good", "missing")
    dataset = load("mnist", tmp_path)
    assert len(dataset.train.y) == 3
    assert requests == [f"/good/{file}" for file in FILES]
    assert {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()} == FILES
    load("mnist", tmp_path)
    load("mnist", tmp_path, download=False)
    assert len(requests) == 4


def test_download_into_the_cache(tmp_path, mirrors, monkeypatch):
    monkeypatch.delenv("XPNET_DATA", raising=False)
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda project: tmp_path / project)
    mirrors("good")
    load("mnist")
    assert sorted(path.name for path in (tmp_path / "xpnet" / "mnist").iterdir()) == sorted(FILES)


@pytest.mark.parametrize("first", ["missing", "corrupt", "broken-off", "dead"])
def test_second_mirror(tmp_path, mirrors, first):
    requests = mirrors(first, "good")
    load("mnist", tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "mnist").iterdir()} == FILES
    tried = [] if first == "dead" else [f"/{first}/{IMAGES}"]
    assert requests[: len(tried) + 1] == [*tried, f"/good/{IMAGES}"]


@pytest.mark.parametrize(
    ("mirror", "reason"),
    [
        ("missing", "HTTP status 404"),
        ("corrupt", "wrong checksum"),
        ("broken-off", "ChunkedEncodingError"),
        ("dead", "ConnectionError"),
    ],
)
def test_no_mirror_has_it(tmp_path, mirrors, mirror, reason):
    mirrors("missing", mirror)
    folder = tmp_path / "mnist"
    reasons = rf"http://127.0.0.1:\d+/missing/: HTTP status 404; http://127.0.0.1:\d+/{mirror}/: {reason}"
    with fails(rf"^{folder}: {IMAGES} is missing, no mirror has it \({reasons}\): {WAY_OUT}$"):
        load("mnist", tmp_path)
    assert list(folder.iterdir()) == []


def test_download_is_off(tmp_path, mirrors):
    requests = mirrors("good")
    files = small_files()
    write(tmp_path, {file: files[file] for file in datasets.FILES[:2]})
    with fails(f"^{tmp_path / 'mnist'}: t10k-images-idx3-ubyte.gz is missing: {WAY_OUT}$"):
        load("mnist", tmp_path, download=False)
    assert requests == []


def test_only_what_is_missing_is_downloaded(tmp_path, mirrors):
    requests = mirrors("good")
    files = small_files(train=5)  # not the published checksums: only downloads are compared
    write(tmp_path, {file: files[file] for file in datasets.FILES[:1]})
    write(tmp_path, {file: files[file] for file in datasets.FILES[1:2]}, zipped=True)
    assert len(load("mnist", tmp_path).train.y) == 5
    assert requests == [f"/good/{file}" for file in list(FILES)[2:]]


def test_damaged_file_is_reported_not_replaced(tmp_path, mirrors):
    requests = mirrors("good")
    write(tmp_path, small_files() | {datasets.FILES[0]: b"mine"})
    with fails("train-images-idx3-ubyte: byte 0: expected the magic number"):
        load("mnist", tmp_path)
    assert requests == []
    assert (tmp_path / "mnist" / datasets.FILES[0]).read_bytes() == b"mine"


def test_folder_cannot_be_made(tmp_path, mirrors):
    requests = mirrors("good")
    (tmp_path / "mnist").write_text("in the way")
    with fails(
        f"mnist: {IMAGES} is missing, a download cannot be written there .(File exists|Not a directory).: "
    ):
        load("mnist", tmp_path)
    assert requests == []


def test_full_disk(tmp_path, mirrors, monkeypatch):
    mirrors("good")

    def full(self, url, output_file, pooch):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), output_file)

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", full)
    with fails(rf"cannot be written there \({os.strerror(errno.ENOSPC)}\): put"):
        load("mnist", tmp_path)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_interrupted_download_leaves_nothing(tmp_path, mirrors, monkeypatch):
    mirrors("good")

    def interrupted(self, url, output_file, pooch):
        with open(output_file, "wb") as file:
            file.write(FILES[IMAGES][:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load("mnist", tmp_path)
    assert list((tmp_path / "mnist").iterdir()) == []


def test_downloads_are_silent_without_a_terminal(tmp_path, mirrors, capfd):
    mirrors("corrupt", "good")
    records = []
    handler = logging.Handler()
    handler.emit = records.append
    log = pooch.get_logger()
    level = log.level
    log.setLevel("DEBUG")
    log.addHandler(handler)
    try:
        load("mnist", tmp_path / "a")
        mirrors("missing")
        with contextlib.suppress(DataError):
            load("mnist", tmp_path / "b")
        assert records == []
        assert log.level == logging.DEBUG
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
    assert capfd.readouterr() == ("", "")


def test_sources():
    assert set(download.SOURCES) == {"mnist", "fashion-mnist", "kmnist", "emnist", "cifar10", "cifar100"}
    archives = {"cifar10": cifar.ARCHIVE, "cifar100": "cifar-100-binary.tar.gz", "emnist": datasets.EMNIST}
    for name, (mirrors, md5) in download.SOURCES.items():
        assert len(mirrors) >= 2 or name == "cifar100"
        assert all(mirror.endswith("/") for mirror in mirrors)
        expected = [archives[name]] if name in archives else [f"{file}.gz" for file in datasets.FILES]
        assert list(md5) == expected
        assert all(len(bytes.fromhex(digest)) == 16 for digest in md5.values())


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_missing_certificates_are_named_as_such(tmp_path, monkeypatch, variable):
    """Requests raises an OSError for them, like that of a folder that cannot be written."""
    for each in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
    monkeypatch.setitem(download.SOURCES, "mnist", download.Source(("https://127.0.0.1:9/",), MD5))
    with fails(rf"need certificates, but \${variable} names {tmp_path / 'none.pem'}, which does not exist: "):
        load("mnist", tmp_path / "data")
