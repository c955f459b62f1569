"""Before a pull-through store's routes answer: pull what is asked for, and send on what isn't its own.

reads        pulled from upstream where they aren't here, then answered by the routes as in any store
lists        answered by upstream, and from here while it is away
events       stay here, and so do roots and retention: they are about what rests here
the rest     publications, leases, which blobs are missing: upstream's, byte for byte
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from functools import partial
from urllib.parse import parse_qs

import anyio.to_thread
from anyio import CapacityLimiter
from fastapi import Request, Response
from inductory_client.contract import wire
from inductory_client.contract.build import DEFAULT_NAMESPACE, check_namespace
from inductory_client.contract.errors import InductoryError, Malformed, UpstreamUnavailable
from inductory_client.contract.lease import Leased
from starlette.types import ASGIApp, Receive, Scope, Send

from inductory_store.blobs.upload_id import parse_upload_id
from inductory_store.problems import problem_response
from inductory_store.upstream.exchange import BYTES_PER_S_MIN, Body
from inductory_store.upstream.forwarding import PATIENCE_S, Forwarded, forward
from inductory_store.upstream.upstream import Upstream
from inductory_store.upstream.way import HEADER, passed, stores_passed

from .answers import pace_of, store_of
from .body import SHORT_BYTES_MAX, body_chunks, content_length, read_again, read_whole

_DIGEST = "([0-9a-f]{64})"
_BLOB = re.compile(f"/v1/blobs/{_DIGEST}")
_ARTIFACT = re.compile(f"/v1/artifacts/{_DIGEST}")
_MANIFEST = re.compile(f"/v1/manifests/{_DIGEST}")
_BUILD = re.compile(f"/v1/builds/{_DIGEST}(?:/bundle)?")
_DOCUMENT = re.compile(f"/v1/builds/{_DIGEST}/documents/{_DIGEST}/.+")
_FINISH = re.compile(f"/v1/blobs/{_DIGEST}/upload/([^/]+):finish")
_LISTS = re.compile(f"/v1/artifacts|/v1/builds|/v1/artifacts/{_DIGEST}/agreement")
_RESOLVE = "/v1/artifacts:resolve"
_LEASES = "/v1/leases"
_OWN = re.compile(f"/v1/events|/v1/leases:wait|/v1/retention|/v1/roots(?:/[a-z]+/{_DIGEST})?")
"""Events are about the nodes near this store, roots and retention about its disk; the route of those who wait
asks upstream itself.
"""

MESSAGES_MAX = 16
"""Messages and lists sent on at a time; more wait for their turn. Blobs have turns of their own, so that who
sends them slowly keeps no lease waiting.
"""


class PullThrough:
    """Goes around the routes of a store that has an upstream."""

    def __init__(self, app: ASGIApp, upstream: Upstream) -> None:
        self._app = app
        self._upstream = upstream
        self._messages = CapacityLimiter(MESSAGES_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            passed.set(stores_passed(request.headers.get(HEADER), self._upstream.exchange.name))
            found = await self._prepared(request)
        except InductoryError as error:
            found = problem_response(error)
        if isinstance(found, Response):
            await found(scope, receive, send)
        else:
            await self._app(scope, found, send)

    async def _prepared(self, request: Request) -> Response | Receive:
        """Return upstream's answer, or what the routes are to read: then it is they who answer."""
        path = request.url.path
        if request.method in ("GET", "HEAD"):
            if request.method == "GET" and _LISTS.fullmatch(path):
                return await self._listed(request)
            await self._pull(request, path)
            return request.receive
        if path == _RESOLVE and request.method == "POST":
            return await self._resolving(request)
        if _OWN.fullmatch(path) or not path.startswith("/v1/"):
            return request.receive
        return await self._forwarded(request)

    async def _pull(self, request: Request, path: str) -> None:
        if match := _BLOB.fullmatch(path):
            await self._upstream.blob(match[1])
            return
        namespace = _namespace(request)
        if namespace is None:  # the route says what is wrong with it
            return
        if match := _ARTIFACT.fullmatch(path):
            await self._upstream.artifact(namespace, match[1])
        elif match := _MANIFEST.fullmatch(path):
            await self._upstream.manifest(namespace, match[1])
        elif match := _BUILD.fullmatch(path) or _DOCUMENT.fullmatch(path):
            await self._upstream.build(namespace, match[1])

    async def _resolving(self, request: Request) -> Receive:
        data = await _read(request)
        namespace = _namespace(request)
        if namespace is not None:
            try:
                asked = await anyio.to_thread.run_sync(wire.decode, data, wire.Resolve)
            except Malformed:
                return read_again(data, request.receive)
            await self._upstream.artifacts(namespace, [each.key for each in asked.artifacts])
        return read_again(data, request.receive)

    async def _listed(self, request: Request) -> Response | Receive:
        """Have upstream answer; while it is away the routes do, but not in the middle of its list."""
        try:
            return _response(await self._sent(request, None))
        except UpstreamUnavailable:
            if "cursor" in request.query_params:
                raise
            return request.receive

    async def _forwarded(self, request: Request) -> Response:
        uploads = request.app.state.uploads
        finish = _FINISH.fullmatch(request.url.path)
        if _BLOB.fullmatch(request.url.path):
            body = body_chunks(request, pace_of(request))
            sent = await self._sent(request, body, _patience_s(request, content_length(request)), uploads)
        elif finish is not None:
            # Upstream reads the whole blob back, and its name tells how much that is.
            upload = parse_upload_id(finish[2])
            patience_s = PATIENCE_S if upload is None else _patience_s(request, upload.size)
            sent = await self._sent(request, await _read(request), patience_s, uploads)
        else:
            data = await _read(request)
            sent = await self._sent(request, data, PATIENCE_S if request.method == "PUT" else 0.0)
        stored = request.method == "PUT" or finish is not None
        if sent.status < 300 and (stored or _tells_of_publications(request, sent)):
            self._upstream.changed()
        return _response(sent)

    async def _sent(
        self, request: Request, body: Body, extra_s: float = 0.0, turns: CapacityLimiter | None = None
    ) -> Forwarded:
        target = request.scope["raw_path"].decode("ascii")
        if query := request.scope["query_string"].decode("ascii"):
            target += f"?{query}"
        work = partial(
            forward, self._upstream.exchange, request.method, target, dict(request.headers), body, extra_s
        )
        return await anyio.to_thread.run_sync(work, limiter=turns or self._messages)


def _patience_s(request: Request, blob_bytes: int | None) -> float:
    """Return what a blob of so many bytes may take upstream, beyond its usual time to answer."""
    settings = store_of(request).settings
    most = settings.blob_bytes_max
    return settings.body_idle_s + min(most if blob_bytes is None else blob_bytes, most) / BYTES_PER_S_MIN


def _tells_of_publications(request: Request, sent: Forwarded) -> bool:
    """Whether an answer names keys that were published: who is told so asks for them next."""
    if request.url.path != _LEASES:
        return False
    try:
        return bool(wire.decode(sent.body, Leased).published)
    except Malformed:
        return False


async def _read(request: Request) -> bytes:
    length = content_length(request)
    short = length is not None and length <= SHORT_BYTES_MAX
    async with nullcontext() if short else request.app.state.messages:
        return await read_whole(request, pace_of(request))


def _namespace(request: Request) -> str | None:
    values = parse_qs(request.url.query, keep_blank_values=True).get("namespace", [DEFAULT_NAMESPACE])
    try:
        return check_namespace(values[-1])
    except Malformed:
        return None


def _response(sent: Forwarded) -> Response:
    return Response(sent.body, sent.status, sent.headers)
