"""Download the files of the data sets with pooch, from the first mirror that has them intact.

Sources: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE, 1998 (MNIST); H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel
image dataset for benchmarking machine learning algorithms", 2017, https://arxiv.org/abs/1708.07747;
A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009 (CIFAR); `idx_sets`
has those of KMNIST and EMNIST.
"""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

from xpnet.errors import DataError


class Source(NamedTuple):
    """The mirrors of a data set, in the order to try, and the MD5 sum of each file."""

    mirrors: tuple[str, ...]
    md5: dict[str, str]


SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": Source(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "cifar10": Source(
        (
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
            "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/",
            "https://www.cs.toronto.edu/~kriz/",  # the author's server, tried last: it sends 80 kB/s
        ),
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "cifar100": Source(
        ("https://www.cs.toronto.edu/~kriz/",),
        {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
    ),
    "kmnist": Source(
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/", "https://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
        {
            "train-images-idx3-ubyte.gz": "bdb82020997e1d708af4cf47b453dcf7",
            "train-labels-idx1-ubyte.gz": "e144d726b3acfaa3e44228e80efcd344",
            "t10k-images-idx3-ubyte.gz": "5c965bf0a639b31b8f53240b1b52f4d7",
            "t10k-labels-idx1-ubyte.gz": "7320c461ea6c1c855c0b718fb2a4b134",
        },
    ),
    "emnist": Source(  # one archive of all its parts
        (
            "https://biometrics.nist.gov/cs_links/EMNIST/",
            "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
        ),
        {"gzip.zip": "58c8d27c78d21e728a6bc7b3cc06412e"},
    ),
}


def fetch(name: str, file: str, folder: Path) -> Path:
    """Download one file of the data set `name` into `folder`, made if missing, and return its path.

    Shows a progress bar if standard error is a terminal, and prints nothing else.

    Raises DataError where `folder` cannot be written, where `$REQUESTS_CA_BUNDLE` names no file, or where no
    mirror gave the file, with each reason.
    """
    source = SOURCES[name]
    reasons = []
    for mirror in source.mirrors:
        try:
            return _retrieve(mirror, file, source.md5[file], folder)
        except (OSError, ValueError) as error:
            if certificates := _missing_certificates(error):
                raise DataError(f"downloads need certificates, but {certificates}") from error
            if isinstance(error, OSError) and not hasattr(error, "request"):
                # Not an error of requests, so the folder or the disk failed: another mirror cannot help.
                what = error.strerror or "Permission denied"  # pooch rewords this one
                raise DataError(f"a download cannot be written there ({what})") from error
            reasons.append(f"{mirror}: {_reason(error)}")
            cause = error
    raise DataError(f"no mirror has it ({'; '.join(reasons)})") from cause


def _retrieve(mirror: str, file: str, md5: str, folder: Path) -> Path:
    """Download with pooch, which renames its temporary file only if the checksum is right."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tqdm, in a notebook without widgets
        import pooch  # late: seldom needed, and slow to import
    from tqdm import tqdm

    log = pooch.get_logger()
    level = log.level
    log.setLevel("WARNING")  # at INFO it reports each attempt in lines of 200 characters
    try:
        with tqdm(desc=file, total=1, unit="B", unit_scale=True, leave=False, disable=None) as bar:
            http = pooch.HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=30)
            return Path(pooch.retrieve(mirror + file, f"md5:{md5}", file, folder, downloader=http))
    finally:
        log.setLevel(level)


def _missing_certificates(error: OSError | ValueError) -> str:
    """What names a file of certificates that is not there; empty if the error is another one."""
    if "CA certificate bundle" not in str(error):
        return ""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        path = os.environ.get(variable)
        if path and not os.path.exists(path):
            return f"${variable} names {path}, which does not exist"
    return f"none are installed ({error})"


def _reason(error: OSError | ValueError) -> str:
    """The reason in a few words."""
    response = getattr(error, "response", None)
    if response is not None:
        response.close()  # pooch does not close it
        return f"HTTP status {response.status_code}"
    if type(error).__name__ == "SSLError":
        return "SSLError: a certificate is not trusted; $REQUESTS_CA_BUNDLE may name a proxy's"
    return type(error).__name__ if isinstance(error, OSError) else "wrong checksum"
