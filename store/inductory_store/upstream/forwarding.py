"""Forwarding: a request to upstream and its answer, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .exchange import Body, Exchange, read_whole
from .way import HEADER

PATIENCE_S = 30.0
"""What a publication may take upstream, beyond an upstream's usual time to answer."""

_OF_A_CONNECTION = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade", "expect", "host", "date", "server", HEADER.lower()),
    }
)
"""Headers that aren't passed on; either side writes its own."""


@dataclass(frozen=True)
class Forwarded:
    """Upstream's answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def forward(
    exchange: Exchange, method: str, target: str, headers: Mapping[str, str], body: Body, extra_s: float = 0.0
) -> Forwarded:
    """Send a request on. Raises UpstreamUnavailable, UpstreamWrong for a long answer, what `body` does."""
    sent = {"accept-encoding": "identity", **_passed_on(headers)}
    if body is None or isinstance(body, bytes):
        sent.pop("content-length", None)
    with exchange.opened(method, target, sent, body, extra_s=extra_s) as (response, _):
        answer = read_whole(response)
        kept = _passed_on(dict(response.headers.items()))
        kept.pop("content-length", None)
        return Forwarded(response.status, kept, answer)


def _passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    lower = {name.lower(): text for name, text in headers.items()}
    return {name: text for name, text in lower.items() if name not in _OF_A_CONNECTION}
