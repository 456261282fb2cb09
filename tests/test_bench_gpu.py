"""`python -m bench.gpu`, which measures a GPU: on the stand-in for CUDA, with little work."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # bench is not an installed package

from bench.gpu.__main__ import cell, main
from bench.gpu.card import Card
from conftest import MISSING


def fails(card: Card) -> dict:
    raise RuntimeError("a broken card |\nwith many lines")


@pytest.mark.gpu
@pytest.mark.skipif("cupy" in MISSING, reason=MISSING.get("cupy", ""))
def test_every_line_is_measured_and_one_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    pytest.importorskip("nvmath.bindings.cublas", reason="nvmath-python is not installed")
    monkeypatch.setattr(Card, "condition", fails)
    assert main(["--small", "--output", str(tmp_path / "new")]) == 1
    (table,), (numbers,) = (list((tmp_path / "new").glob(f"*.{kind}")) for kind in ("md", "jsonl"))
    printed = capsys.readouterr().out
    assert table.read_text("utf-8") == printed
    found = {
        record.pop("line"): record for record in map(json.loads, numbers.read_text("utf-8").splitlines())
    }
    failed = [name for name, record in found.items() if "error" in record]
    assert failed == ["card before", "card after"]
    assert "| card before | error RuntimeError: a broken card / with many lines |" in printed
    assert len(printed.splitlines()) == len(found) + 2
    assert all(next(iter(record.values())) for record in found.values())
    assert "nodes" in found["784-512-512-10, batch 128, Adam, graph"]
    assert "nodes" not in found["784-512-512-10, batch 128, Adam, kernel by kernel"]
    assert found["copy: (256, 64)"]["GB/s"] > 0


@pytest.mark.skipif("cupy" not in MISSING, reason="CuPy and a device are there")
def test_without_a_device_it_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["--output", str(tmp_path / "new")]) == 2
    assert capsys.readouterr().err == f"bench.gpu: {MISSING['cupy']}\n"
    assert not (tmp_path / "new").exists()


def test_cells() -> None:
    assert (
        cell({"µs": 1234.5, "nodes": 30, "% of peak": None, "CUDA": "13.0"})
        == "1,230 µs, 30 nodes, CUDA 13.0"
    )
