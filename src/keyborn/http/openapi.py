"""The OpenAPI 3.1 document, generated from the wire bodies."""

from functools import cache
from typing import Any

import msgspec

from keyborn import __version__
from keyborn.http.bodies import EnrollAnswer, EnrollBody, LegacyBody
from keyborn.http.problems import MEDIA_TYPE, Problem

_PROBLEMS = {
    "400": "The body, the thing name or the CSR is refused; `code` says why.",
    "401": "No credential, or not a valid one.",
    "403": "The credential is not good for this, or the thing or key was revoked.",
    "409": "The name or the key belongs to somebody else.",
    "413": "More than 16 KiB.",
    "429": "Too many failures, others are first, or AWS throttles; Retry-After says when to come back.",
    "503": "Busy, or the registry cannot write; Retry-After says when to come back.",
    "500": "A fault of the service.",
}


@cache
def document() -> bytes:
    """The document as JSON; the same bytes for the life of the process."""
    (_, _, _, _), components = msgspec.json.schema_components(
        [EnrollBody, LegacyBody, EnrollAnswer, Problem], ref_template="#/components/schemas/{name}"
    )
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Keyborn registration authority",
                "version": __version__,
                "description": "A device sends a CSR and a credential and gets its certificate.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": _paths(),
            "components": {
                "schemas": components,
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def _paths() -> dict[str, Any]:
    return {
        "/v1/enroll": {"post": _enroll()},
        "/getCertificate": {"post": _get_certificate()},
        "/v1/trust-bundle": {
            "get": _get("trustBundle", "The roots, PEM.", "application/pem-certificate-chain")
        },
        "/healthz": {"get": _get("healthz", "The process answers.", "text/plain")},
        "/readyz": {"get": _get("readyz", "The service can enrol.", "text/plain") | _unready()},
        "/openapi.json": {"get": _get("openapi", "This document.", "application/json", {"type": "object"})},
    }


def _enroll() -> dict[str, Any]:
    answer = _content("application/json", _ref(EnrollAnswer))
    return _door("enroll", "Enroll a thing with its key.", EnrollBody) | {
        "responses": {
            "201": {"description": "A new certificate.", "content": answer},
            "200": {"description": "The same request again: the same certificate.", "content": answer},
            **_problem_responses(),
        }
    }


def _get_certificate() -> dict[str, Any]:
    pem = _content("text/plain", {"type": "string"})
    return _door("getCertificate", "The compatibility door: the bare PEM.", LegacyBody) | {
        "responses": {"200": {"description": "The certificate.", "content": pem}, **_problem_responses()}
    }


def _door(operation: str, summary: str, body: type[msgspec.Struct]) -> dict[str, Any]:
    return {
        "operationId": operation,
        "summary": summary,
        "security": [{"token": []}],
        "requestBody": {"required": True, "content": _content("application/json", _ref(body))},
    }


def _get(operation: str, summary: str, media: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    content = _content(media, schema or {"type": "string"})
    return {
        "operationId": operation,
        "summary": summary,
        "responses": {"200": {"description": summary, "content": content}},
    }


def _unready() -> dict[str, Any]:
    ready = _get("readyz", "The service can enrol.", "text/plain")["responses"]
    return {"responses": ready | {"503": _problem_responses()["503"]}}


def _problem_responses() -> dict[str, Any]:
    content = _content(MEDIA_TYPE, _ref(Problem))
    return {status: {"description": text, "content": content} for status, text in _PROBLEMS.items()}


def _content(media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {media: {"schema": schema}}


def _ref(body: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{body.__name__}"}
