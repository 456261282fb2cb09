"""Whole training runs: a config, and a run folder with metrics, parameters and pictures."""

from xpnet.train.config import Config
from xpnet.train.experiment import run

__all__ = ["Config", "run"]
