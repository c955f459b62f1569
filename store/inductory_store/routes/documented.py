"""What OpenAPI says of bodies and answers. FastAPI reads none of them: `contract.wire` is the one parser."""

from __future__ import annotations

from typing import Any

JSON = "application/json"
OCTETS = "application/octet-stream"

BLOB = None
"""Stands for a body of bytes."""

TEXT: dict[int | str, dict[str, Any]] = {200: {"description": "The text", "content": {"text/plain": {}}}}
BUNDLE_TYPE = "application/vnd.inductory.bundle.v1"
BUNDLE: dict[int | str, dict[str, Any]] = {200: {"description": "The bundle", "content": {BUNDLE_TYPE: {}}}}


def takes(message_type: type[Any] | None) -> dict[str, Any]:
    """Return what describes a route that reads a message, or bytes for BLOB."""
    content = {OCTETS: {}} if message_type is None else {JSON: {"schema": reference(message_type)}}
    return {"openapi_extra": {"requestBody": {"required": True, "content": content}}}


def gives(message_type: type[Any], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return what describes a route that answers with a message; 200 unless told."""
    content = {JSON: {"schema": reference(message_type)}}
    return {
        status: {"description": message_type.__name__, "content": content} for status in statuses or (200,)
    }


def reference(message_type: type[Any]) -> dict[str, str]:
    """Return a reference to a message among OpenAPI's components."""
    return {"$ref": f"#/components/schemas/{message_type.__name__}"}
