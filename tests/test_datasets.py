"""The laws of data sets, for each that `load` knows."""

from pathlib import Path

import numpy as np
import pytest

from cases import CIFAR_RECORDS, DATASETS, DatasetCase
from data_files import check_arrays
from xpnet.data import Dataset, cifar, load


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cifar, "RECORDS", CIFAR_RECORDS)
    monkeypatch.chdir(tmp_path)  # CSV files are named from the current folder


@pytest.mark.usefixtures("_here")
@pytest.mark.parametrize("case", DATASETS, ids=str)
def test_arrays_are_what_a_training_takes(case: DatasetCase, tmp_path: Path) -> None:
    """float32 from 0 to 1 and int64 labels, contiguous and writable, without a download; the same each time."""
    if case.name.startswith("sklearn"):
        pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    if case.write:
        case.write(tmp_path)
    dataset = load(case.name, tmp_path, download=False)
    assert isinstance(dataset, Dataset)
    assert dataset.name == case.name
    assert dataset.classes == case.classes
    assert len(dataset.class_names) == len(set(dataset.class_names)) == case.class_names
    check_arrays(dataset.train, (case.train, *case.example), case.classes)
    check_arrays(dataset.test, (case.test, *case.example), case.classes)
    assert dataset.train.x.std() > 0.1
    again = load(case.name, tmp_path, download=False)
    for first, second in zip((*dataset.train, *dataset.test), (*again.train, *again.test), strict=True):
        np.testing.assert_array_equal(first, second)
        assert not np.shares_memory(first, second)
