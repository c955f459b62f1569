"""Why a graph is left alone."""

from __future__ import annotations


class Unsupported(Exception):
    """The graph has something that can't be keyed or shared safely; it goes to stock Inductor.

    The message says what, in words for the person who reads the warning.
    """


class Bound(Unsupported):
    """A length that was to vary can't: the code ties it to one that doesn't."""
