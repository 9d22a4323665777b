"""Requests as API Gateway hands them to a function: payload format 2.0, as one was recorded."""

import base64
import json
from dataclasses import dataclass
from typing import Any

SOURCE = "203.0.113.9"
DOMAIN = "a1b2c3d4e5.execute-api.eu-central-1.amazonaws.com"


@dataclass(slots=True)
class Context:
    """What a function is told about its invocation."""

    milliseconds: int = 15_000
    aws_request_id: str = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef"
    function_name: str = "keyborn-enroll"

    def get_remaining_time_in_millis(self) -> int:
        return self.milliseconds


def event(
    method: str = "GET",
    path: str = "/healthz",
    body: str | bytes | None = None,
    *,
    headers: dict[str, str] | None = None,
    query: str = "",
) -> dict[str, Any]:
    """An event; a body of bytes arrives as API Gateway sends one without a text type: in base64."""
    sent: dict[str, str] = {"accept": "*/*", "host": DOMAIN, "x-forwarded-for": SOURCE}
    whole: dict[str, Any] = {
        "version": "2.0",
        "routeKey": f"{method} {path}",
        "rawPath": path,
        "rawQueryString": query,
        "headers": sent | {"x-forwarded-proto": "https", "x-forwarded-port": "443"} | (headers or {}),
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "a1b2c3d4e5",
            "domainName": DOMAIN,
            "domainPrefix": "a1b2c3d4e5",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": SOURCE,
                "userAgent": "curl/7.88.1",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": f"{method} {path}",
            "stage": "$default",
            "time": "23/Nov/2026:05:17:38 +0000",
            "timeEpoch": 1795497458000,
        },
        "isBase64Encoded": isinstance(body, bytes),
    }
    if body is not None:
        text = base64.b64encode(body).decode() if isinstance(body, bytes) else body
        whole["body"] = text
        whole["headers"] |= {"content-length": str(len(body))}
    return whole


def enroll_event(name: str, csr: str, secret: str, *, encoded: bool = False) -> dict[str, Any]:
    """A device's request for a certificate."""
    body = json.dumps({"thingName": name, "csr": csr})
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    return event("POST", "/v1/enroll", body.encode() if encoded else body, headers=headers)
