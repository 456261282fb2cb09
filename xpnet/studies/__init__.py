"""The experiments: `python scripts/study.py NAME` runs one module and writes one report.

The docstring of a study begins its report: the first line is the title, the paragraphs after it are the
introduction. Its `run(options, report)` does the experiment and adds the results to the report. Keyword-only
arguments of `run` are options of that study alone.
"""

import importlib
from typing import Any, Protocol, cast

from xpnet._util.text import did_you_mean, docstring
from xpnet.errors import ConfigError


class Study(Protocol):
    """The interface of a study's module."""

    __doc__: str | None

    def run(self, options: Any, report: Any, **more: Any) -> None:
        """Do the experiment with the `Options`, and add the results to the `Report`."""


def module_name(name: str) -> str:
    """`xpnet.studies.learning_rate` for learning-rate."""
    return f"{__name__}.{name.replace('-', '_')}"


NAMES = (
    "backprop-by-hand",
    "logic-gates",
    "activation-descent",
    "convolution-by-hand",
    "initialization",
    "finite-differences",
    "learning-rate",
    "regularization-strength",
    "batch-size",
    "depth-and-width",
    "activation",
    "five-networks",
    "hyperparameter-search",
    "cnn-vs-mlp",
    "random-labels",
    "weight-agnostic",
)


def load(name: str) -> Study:
    """Import and return the study of that name. ConfigError for an unknown name."""
    if name not in NAMES:
        raise ConfigError(
            f"no study is called {name!r}: expected one of {', '.join(NAMES)}{did_you_mean(name, NAMES)}"
        )
    return cast(Study, importlib.import_module(module_name(name)))


def title(name: str) -> str:
    """The first line of the study's docstring, without its full stop."""
    return (docstring(load(name)) or name).strip().partition("\n")[0].rstrip(".")
