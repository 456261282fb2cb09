"""Whole training runs: a config, a run folder with its files, and the pictures in it."""

from xpnet.train.config import Config
from xpnet.train.experiment import run

__all__ = ["Config", "run"]
