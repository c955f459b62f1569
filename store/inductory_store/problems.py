"""Errors on their way out: each is `application/problem+json` with a stable code, and no driver's words."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from inductory_client.contract import wire
from inductory_client.contract.errors import InductoryError, Malformed, MethodNotAllowed, NotFound, TooLarge
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Route

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:inductory:problem:"

_HTTP_ERRORS: dict[int, type[InductoryError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}


def problem_of(error: InductoryError) -> wire.Problem:
    """Return what travels of an error."""
    return wire.Problem(
        type=TYPE_PREFIX + error.code,
        title=(type(error).__doc__ or error.code).strip().splitlines()[0],
        status=error.status,
        code=error.code,
        detail=error.message,
        retryable=error.retryable,
    )


def problem_response(error: InductoryError, headers: dict[str, str] | None = None) -> Response:
    """Return the answer that an error is."""
    return Response(
        wire.encode(problem_of(error)), status_code=error.status, media_type=MEDIA_TYPE, headers=headers
    )


def install_problems(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make every error of `app`, which has these routes, a Problem."""

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        found = _HTTP_ERRORS.get(error.status_code, Malformed if error.status_code < 500 else InductoryError)
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = _allowed(routes, request.url.path)
        return problem_response(found(), headers)

    app.add_exception_handler(InductoryError, _ours)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, InductoryError)
    return problem_response(error)


def _allowed(routes: Sequence[BaseRoute], path: str) -> str:
    """Return the methods of an address: Starlette would name those of the first of its routes only."""
    matching = [each for each in routes if isinstance(each, Route) and each.path_regex.match(path)]
    return ", ".join(sorted({method for each in matching for method in each.methods or ()}))


async def _validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return problem_response(Malformed(f"{first['loc'][-1]}: {first['msg']}"))


async def _unforeseen(_: Request, __: Exception) -> Response:
    return problem_response(InductoryError("the store made a mistake; its log has more"))
