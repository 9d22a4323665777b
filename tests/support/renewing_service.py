"""A service on a real TLS socket that renews: it checks nonce, address and signature as the contract says."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509

from keyborn.domain import jws_signature
from keyborn.domain.errors import KeybornError
from keyborn.domain.jws import MEDIA_TYPE, SignedRequest, parse_jws
from keyborn.domain.names import certificate_id
from support.pki import Leaf, Pki
from support.rude_service import PROBLEM, Exchange, Reply, RudeService, rude_service

NONCE, RENEW, CONFIRM, ROOTS = "/v1/nonce", "/v1/renew", "/v1/renew/confirm", "/v1/roots"


@dataclass
class Renewing:
    """What the service knows, and what it has been asked."""

    service: RudeService
    prefix: str = ""
    known: dict[str, x509.Certificate] = field(default_factory=dict)
    nonces: set[str] = field(default_factory=set)
    confirmed: list[str] = field(default_factory=list)
    believed: list[str] = field(default_factory=list)
    signed: list[SignedRequest] = field(default_factory=list)
    """Every request whose signature held."""

    def know(self, pem_text: bytes) -> str:
        """Make a certificate known; returns its id."""
        certificate = x509.load_pem_x509_certificates(pem_text)[0]
        known = certificate_id(_der(certificate))
        self.known[known] = certificate
        return known

    def fresh(self) -> str:
        nonce = f"nonce-{len(self.nonces)}-{len(self.signed)}"
        self.nonces.add(nonce)
        return nonce

    def nonce(self, exchange: Exchange) -> None:
        exchange.send(204, b"", Replay_Nonce=self.fresh())

    def renew(self, exchange: Exchange) -> None:
        request = self._checked(exchange, RENEW)
        if request is None:
            return
        csr = json.loads(request.payload)["csr"]
        thing = x509.load_pem_x509_csr(csr.encode()).subject.rfc4514_string().removeprefix("CN=")
        answer = self.service.answer(thing, csr)
        self.know(answer["certificatePem"].encode())
        self.say(exchange, 201, answer)

    def confirm(self, exchange: Exchange) -> None:
        request = self._checked(exchange, CONFIRM)
        if request is not None:
            self.confirmed.append(request.protected.kid)
            self.say(exchange, 200, {})

    def roots(self, exchange: Exchange) -> None:
        request = self._checked(exchange, ROOTS)
        if request is not None:
            self.believed.append(json.loads(request.payload)["roots"])
            exchange.send(204, b"", Replay_Nonce=self.fresh())

    def say(self, exchange: Exchange, status: int, answer: dict[str, Any]) -> None:
        body = json.dumps(answer).encode()
        exchange.send(status, body, Content_Type="application/json", Replay_Nonce=self.fresh())

    def refuse(self, status: int, code: str, *, detail: str = "because", **headers: str) -> Reply:
        """A reply that refuses, with a fresh nonce as every answer of a signed route has one."""
        body = json.dumps({"status": status, "code": code, "detail": detail}).encode()

        def reply(exchange: Exchange) -> None:
            exchange.send(status, body, Content_Type=PROBLEM, Replay_Nonce=self.fresh(), **headers)

        return reply

    def _checked(self, exchange: Exchange, path: str) -> SignedRequest | None:
        try:
            request = parse_jws(exchange.seen.body)
            assert exchange.seen.headers["Content-Type"] == MEDIA_TYPE
            assert request.protected.url == f"{self.service.url}{self.prefix}{path}"
            jws_signature.verify(request, self.known[request.protected.kid].public_key())
        except (KeybornError, KeyError) as wrong:
            self.refuse(401, "signature_refused", detail=repr(wrong))(exchange)
            return None
        if request.protected.nonce not in self.nonces:
            self.refuse(400, "bad_nonce")(exchange)
            return None
        self.nonces.discard(request.protected.nonce)
        self.signed.append(request)
        return request


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


@contextmanager
def renewing_service(
    folder: Path, *, prefix: str = "", pki: Pki | None = None, leaf: Leaf | None = None
) -> Iterator[Renewing]:
    with rude_service(folder, pki=pki, leaf=leaf) as service:
        renewing = Renewing(service, prefix)
        service.script(prefix + NONCE, renewing.nonce)
        service.script(prefix + RENEW, renewing.renew)
        service.script(prefix + CONFIRM, renewing.confirm)
        service.script(prefix + ROOTS, renewing.roots)
        yield renewing
