"""The OpenAPI document: FastAPI's paths, the contract's schemas, and real examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from inductory_client.contract import wire

from .examples import examples
from .problems import MEDIA_TYPE
from .routes.documented import reference

_REFERENCE = "#/components/schemas/{name}"


def openapi_of(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return what `app` answers at `/openapi.json`; the document is made once, when it is first asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    return document


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        description="Compile once, load everywhere. Every error is a Problem with a stable code.",
        routes=app.routes,
    )
    by_type = examples()
    _, schemas = msgspec.json.schema_components(by_type, ref_template=_REFERENCE)
    document.setdefault("components", {})["schemas"] = schemas
    by_name = {kind.__name__: json.loads(wire.encode(value)) for kind, value in by_type.items()}
    problem = {MEDIA_TYPE: {"schema": reference(wire.Problem)}}
    for operation in _operations(document):
        # FastAPI's own error body: ours is a Problem, with status 400.
        operation["responses"].pop("422", None)
        operation["responses"]["default"] = {"description": "Problem", "content": problem}
        for media in _media(operation):
            name = media.get("schema", {}).get("$ref", "").rpartition("/")[2]
            if name in by_name:
                media["example"] = by_name[name]
    return document


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from path.values()


def _media(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from body.get("content", {}).values()
