"""Whole training runs: a config, and a run folder with metrics, parameters and pictures."""

from xpnet.train.config import Config
from xpnet.train.experiment import run
from xpnet.train.trained_run import TrainedRun

__all__ = ["Config", "TrainedRun", "run"]
