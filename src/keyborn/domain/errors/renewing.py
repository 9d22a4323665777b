"""Leaves: signed requests, renewals and their confirmation."""

from keyborn.domain.errors.tree import Conflict, Forbidden, InputError, Unauthenticated


# ── signed requests ──
class JwsMalformed(InputError):
    """The body is not one flattened JWS with just the members and headers that we take."""

    code = "jws_malformed"
    sentence = (
        "The signed request cannot be read: {detail}. Send a flattened JWS (RFC 7515, 7.2.2) as "
        "application/jose+json, whose protected header holds alg, nonce, url and kid (or x5c, to enrol with "
        "a factory certificate), and nothing else."
    )


class BadNonce(InputError):
    """Unknown, too old, or used before; the answer brings another one (RFC 8555, 6.5)."""

    code = "bad_nonce"
    sentence = (
        "The nonce is unknown, too old or used. Sign the request again with the nonce of this answer's "
        "Replay-Nonce header."
    )


class SignatureRefused(Unauthenticated):
    """No certificate of that id, or not signed by its key: told apart nowhere."""

    code = "signature_refused"
    sentence = (
        "The request is not signed by the key of a certificate that this service knows. Sign it with the "
        "device's own key, and name its certificate's id as kid."
    )


class SignedForElsewhere(Unauthenticated):
    """The ``url`` in the protected header is not where the request arrived (RFC 8555, 6.4.1)."""

    code = "signed_for_elsewhere"
    sentence = (
        "The request was signed for another address than {expected}. Sign the address of this service, and "
        "see that nothing on the way rewrites the path."
    )


# ── renewal ──
class CertificateNotActive(Forbidden):
    """The signing certificate was succeeded, withdrawn, or never handed out; its thing is not barred."""

    code = "certificate_not_active"
    sentence = (
        "The certificate that signed this request is {status}. Use the one that came before or after it; if "
        "there is none, ask the operator for a replacement token."
    )


class CertificateExpired(Forbidden):
    """The signing certificate is past its dates, and the operator grants no grace."""

    code = "certificate_expired"
    sentence = (
        "The certificate expired at {expired}. Ask the operator to let it renew all the same: "
        "keyborn thing grace {name} --for 7d"
    )


class KeyNotNew(InputError):
    """The CSR of a renewal carries the key that signs the request."""

    code = "key_not_new"
    sentence = "The CSR carries the key that is to be succeeded. Make a new key for each renewal."


class RenewalPending(Conflict):
    """A successor with another key has connected, and is not confirmed yet."""

    code = "renewal_pending"
    sentence = (
        "{name} has connected with a new certificate, and has not confirmed it. Confirm that one "
        "(POST /v1/renew/confirm, signed by its key)."
    )


class RenewalUnconfirmed(Conflict):
    """A certificate that is not its thing's current one asks for a successor, or confirms out of turn."""

    code = "renewal_unconfirmed"
    sentence = "This certificate is not the current one of {name} yet: {remedy}."
