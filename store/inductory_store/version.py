"""The version of the distribution that this package is a part of."""

from __future__ import annotations

from importlib.metadata import version

__version__ = version("inductory")
