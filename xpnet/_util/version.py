"""The version of xpnet that is installed."""

from importlib import metadata

NOT_INSTALLED = "0+unknown"  # a version in the sense of PEP 440, which no release has

try:
    __version__ = metadata.version("xpnet")
except metadata.PackageNotFoundError:  # a checkout that is only on the path
    __version__ = NOT_INSTALLED
