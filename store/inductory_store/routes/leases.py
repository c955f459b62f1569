"""`/v1/leases`: who compiles what, and waiting for it."""

from __future__ import annotations

from functools import partial

from fastapi import APIRouter, Request, Response
from inductory_client.contract import wire
from inductory_client.contract.lease import (
    Heartbeat,
    KeysAwaited,
    Leased,
    LeasesEnded,
    LeasesReleased,
    LeasesRenewed,
    LeasesWanted,
    Standing,
)

from inductory_store.operations.await_keys import Waiting
from inductory_store.operations.lease_keys import lease_keys, release_leases, renew_leases
from inductory_store.upstream.waiting import AwaitedUpstream

from .answers import answer, pace_of, received, store_of
from .body import read_whole
from .documented import gives, takes
from .query import DEFAULT_NAMESPACE, NamespaceQuery, check_namespace

router = APIRouter(prefix="/v1", tags=["leases"], default_response_class=Response)


@router.post("/leases", **takes(LeasesWanted), responses=gives(Leased))
async def lease(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Ask for the right to compile keys."""
    operation = partial(lease_keys, store_of(request), check_namespace(namespace))
    return await received(request, LeasesWanted, operation)


@router.post("/leases:renew", **takes(Heartbeat), responses=gives(LeasesRenewed))
async def renew(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Say that leases are still needed."""
    operation = partial(renew_leases, store_of(request), check_namespace(namespace))
    return await received(request, Heartbeat, operation)


@router.post("/leases:release", **takes(LeasesEnded), responses=gives(LeasesReleased))
async def release(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Give leases back whose keys aren't published, and say which compiles failed."""
    operation = partial(release_leases, store_of(request), check_namespace(namespace))
    return await received(request, LeasesEnded, operation)


@router.post("/leases:wait", **takes(KeysAwaited), responses=gives(Standing))
async def wait(request: Request, namespace: NamespaceQuery = DEFAULT_NAMESPACE) -> Response:
    """Be told how keys stand as soon as one of them isn't being compiled by somebody any more."""
    asked = wire.decode(await read_whole(request, pace_of(request)), KeysAwaited)
    waiting = request.app.state.waiting
    assert isinstance(waiting, Waiting | AwaitedUpstream)
    return answer(await waiting.standing(check_namespace(namespace), asked))
