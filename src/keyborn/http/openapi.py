"""The OpenAPI 3.1 document, generated from the wire bodies."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from keyborn import __version__
from keyborn.domain.jws import MEDIA_TYPE as MEDIA_TYPE_JWS
from keyborn.http.bodies import (
    ConfirmAnswer,
    ConfirmPayload,
    EnrollAnswer,
    EnrollBody,
    LegacyBody,
    NonceAnswer,
    PendingAnswer,
    RenewPayload,
    RootsPayload,
    SignedBody,
)
from keyborn.http.openapi_operators import OperatorCall, operator_paths
from keyborn.http.problems import MEDIA_TYPE, Problem
from keyborn.http.signed import CONFIRM, NONCE, RENEW, REPLAY_NONCE, ROOTS

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
_SIGNED_PROBLEMS = _PROBLEMS | {
    "400": "The JWS, the CSR or its key is refused, or the nonce is; `code` says why.",
    "401": "Not signed by the key of a certificate of this service, or for another address.",
    "403": "The certificate is expired or not active, or the thing or key was revoked.",
    "409": "Another successor is waiting, or this certificate is not the current one yet.",
}
_REPLAY_NONCE = {
    "headers": {
        REPLAY_NONCE: {"description": "The nonce for the next request.", "schema": {"type": "string"}}
    }
}


@cache
def document(*, renewal: bool, reports: bool = False, operators: tuple[OperatorCall, ...] = ()) -> bytes:
    """The document as JSON; the same bytes for the life of the process.

    ``renewal``: with its routes. ``reports``: with those of devices that tell which roots they believe.
    ``operators``: what an operator may call from elsewhere.
    """
    bodies = [EnrollBody, LegacyBody, EnrollAnswer, PendingAnswer, Problem]
    if renewal:
        bodies += [SignedBody, RenewPayload, ConfirmPayload, ConfirmAnswer, NonceAnswer]
    if reports:
        bodies += [RootsPayload]
    bodies += [call.body for call in operators if call.body is not None]
    schemes: dict[str, Any] = {"token": {"type": "http", "scheme": "bearer"}}
    if operators:
        schemes["apiKey"] = {"type": "http", "scheme": "bearer", "bearerFormat": "kba1.…"}
    _, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Keyborn registration authority",
                "version": __version__,
                "description": "A device sends a CSR and a credential and gets its certificate.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": _merged(
                _paths(signed=renewal),
                _signed_paths() if renewal else {},
                _report_paths() if reports else {},
                operator_paths(operators),
            ),
            "components": {
                "schemas": components,
                "securitySchemes": schemes,
            },
        }
    )


def _merged(*parts: dict[str, Any]) -> dict[str, Any]:
    """All paths; where two parts know one path, the methods of both."""
    paths: dict[str, Any] = {}
    for part in parts:
        for path, methods in part.items():
            paths[path] = paths.get(path, {}) | methods
    return paths


def _paths(*, signed: bool) -> dict[str, Any]:
    return {
        "/v1/enroll": {"post": _enroll() | (_enroll_signed() if signed else {})},
        "/getCertificate": {"post": _get_certificate()},
        "/v1/trust-bundle": {
            "get": _get("trustBundle", "The roots, PEM.", "application/pem-certificate-chain")
        },
        "/healthz": {"get": _get("healthz", "The process answers.", "text/plain")},
        "/readyz": {"get": _get("readyz", "The service can enrol.", "text/plain") | _unready()},
        "/openapi.json": {"get": _get("openapi", "This document.", "application/json", {"type": "object"})},
    }


def _signed_paths() -> dict[str, Any]:
    nonce = _get("nonce", "A nonce for one signed request.", "application/json", _ref(NonceAnswer))
    nonce["responses"]["200"] |= _REPLAY_NONCE
    renew = _signed("renew", "Renew a certificate: a successor for a new key.", RenewPayload, EnrollAnswer)
    again = renew["responses"]["200"]
    renew["responses"] = {"201": again | {"description": "A new successor."}} | renew["responses"]
    confirm = _signed("confirm", "Confirm it with its own key.", ConfirmPayload, ConfirmAnswer)
    return {
        NONCE: {"get": nonce},
        RENEW: {"post": renew},
        CONFIRM: {"post": confirm},
    }


def _report_paths() -> dict[str, Any]:
    roots = _signed("roots", "Tell which roots the device believes.", RootsPayload, RootsPayload)
    return {ROOTS: {"post": roots}}


def _signed(
    operation: str, summary: str, payload: type[msgspec.Struct], answer: type[msgspec.Struct]
) -> dict[str, Any]:
    told = {"description": "Done, now or before.", "content": _content("application/json", _ref(answer))}
    responses = {"200": told, **_problem_responses(_SIGNED_PROBLEMS)}
    return {
        "operationId": operation,
        "summary": summary,
        "description": f"A signed request, as in RFC 8555, 6.2; its payload is a {payload.__name__}.",
        "requestBody": {"required": True, "content": _content(MEDIA_TYPE_JWS, _ref(SignedBody))},
        "responses": {
            status: each if status == "500" else each | _REPLAY_NONCE for status, each in responses.items()
        },
    }


def _enroll() -> dict[str, Any]:
    answer = _content("application/json", _ref(EnrollAnswer))
    return _door("enroll", "Enroll a thing with its key.", EnrollBody) | {
        "responses": {
            "201": {"description": "A new certificate.", "content": answer},
            "200": {"description": "The same request again: the same certificate.", "content": answer},
            "202": _pending(),
            **_problem_responses(),
        }
    }


def _enroll_signed() -> dict[str, Any]:
    """What there is beside a bearer secret, where nonces are given out."""
    body = _content("application/json", _ref(EnrollBody)) | _content(MEDIA_TYPE_JWS, _ref(SignedBody))
    return {
        "description": "With a bearer secret, or as a signed request (RFC 8555, 6.2) whose payload is an "
        "EnrollBody. Its header has, beside alg, nonce and url, kid (the id of a group key; HS256) or x5c (a "
        "factory certificate and those above it); each answer to it brings Replay-Nonce.",
        "security": [{"token": []}, {}],
        "requestBody": {"required": True, "content": body},
    }


def _get_certificate() -> dict[str, Any]:
    pem = _content("text/plain", {"type": "string"})
    return _door("getCertificate", "The compatibility door: the bare PEM.", LegacyBody) | {
        "responses": {
            "200": {"description": "The certificate.", "content": pem},
            "202": _pending(),
            **_problem_responses(),
        }
    }


def _pending() -> dict[str, Any]:
    seconds = {"description": "Seconds until the same request is due again.", "schema": {"type": "integer"}}
    return {
        "description": "A person has to decide: repeat the same request after Retry-After seconds.",
        "headers": {"Retry-After": seconds},
        "content": _content("application/json", _ref(PendingAnswer)),
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


def _problem_responses(problems: Mapping[str, str] = _PROBLEMS) -> dict[str, Any]:
    content = _content(MEDIA_TYPE, _ref(Problem))
    return {status: {"description": text, "content": content} for status, text in problems.items()}


def _content(media: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {media: {"schema": schema}}


def _ref(body: type[msgspec.Struct]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{body.__name__}"}
