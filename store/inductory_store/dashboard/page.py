"""The first page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inductory_client.contract.manifest import BLUEPRINT, DISPATCH
from jinja2 import Environment, PackageLoader, StrictUndefined

from inductory_store.operations.overview import Hour, Overview
from inductory_store.version import __version__

from .words import ago, amount, duration, percent, size

CHART_HEIGHT = 120

_templates = Environment(
    loader=PackageLoader("inductory_store.dashboard"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
)
_templates.filters |= {"amount": amount, "duration": duration, "percent": percent, "size": size}


# Of a manifest's documents, those that people come to read.
_LABELS = {BLUEPRINT: "blueprint", DISPATCH: "dispatch"}


@dataclass(frozen=True)
class Link:
    """A document of a build."""

    label: str
    manifest: str
    name: str


@dataclass(frozen=True)
class Bar:
    """An hour of the chart: heights of its parts, from the ground up."""

    label: str
    hits: float
    misses: float


@dataclass(frozen=True)
class Pulls:
    """Which store this one pulls from, and `ok` or what is wrong with it."""

    url: str
    state: str


def render(overview: Overview, address_here: str, pulls: Pulls | None = None) -> str:
    """Return the page as HTML."""
    return _templates.get_template("first_page.html").render(
        version=__version__,
        address_here=address_here,
        pulls=pulls,
        totals=overview.totals,
        day=overview.day,
        builds=overview.builds,
        documents={
            (build.namespace, build.key): [
                Link(_LABELS[each.name], each.manifest, each.name)
                for each in overview.documents
                if (each.namespace, each.build) == (build.namespace, build.key) and each.name in _LABELS
            ]
            for build in overview.builds
        },
        disagreements=overview.disagreements,
        bars=bars(overview.day.hours),
        chart_height=CHART_HEIGHT,
        ago=lambda instant: ago(overview.now - instant),
    )


def bars(hours: Sequence[Hour]) -> list[Bar]:
    """Return the chart's bars, the highest as high as the chart."""
    highest = max((hour.hits + hour.misses for hour in hours), default=0) or 1
    scale = CHART_HEIGHT / highest
    return [
        Bar(_label(hour, len(hours) - at), hour.hits * scale, hour.misses * scale)
        for at, hour in enumerate(hours)
    ]


def _label(hour: Hour, hours_ago: int) -> str:
    when = "the last hour" if hours_ago == 1 else f"{hours_ago - 1} to {hours_ago} hours ago"
    return f"{when}: {amount(hour.hits)} hits, {amount(hour.misses)} misses"
