"""The broker's TLS settings, and words for what goes wrong in a handshake."""

import ssl
from pathlib import Path

AWS_ALPN = "x-amzn-mqtt-ca"
"""AWS IoT's name for MQTT with client certificates on port 443, where it must be asked for.

Source: AWS IoT Core Developer Guide, "Device communication protocols".
"""
ALPN = (AWS_ALPN, "mqtt")
"""What is agreed on if the client asks for it: AWS's name and the registered one."""


def server_context(
    certificate_chain: Path | str,
    key: Path | str,
    client_ca_pem: str,
    password: str | bytes | None = None,
) -> ssl.SSLContext:
    """TLS 1.2 with AEAD suites or 1.3, a client certificate required (RFC 8996, RFC 9325).

    ``client_ca_pem`` holds root and device intermediates, since clients usually show their leaf alone.
    OpenSSL checks that leaf and intermediates are good for client authentication, so that a certificate for
    servers is refused. Renew with ``load_cert_chain`` on the same context: new connections use the new one.
    Raises OSError or ssl.SSLError where a file does not load.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_alpn_protocols(list(ALPN))
    context.load_cert_chain(certificate_chain, key, password)
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_TRUSTED_FIRST
    context.load_verify_locations(cadata=client_ca_pem)
    return context


def handshake_fault(error: ssl.SSLError) -> str:
    """Why a handshake failed, in words for the log."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"client certificate refused: {error.verify_message}"
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "no client certificate"
    reason = (error.reason or str(error)).replace("_", " ").lower()
    if "ALERT" in (error.reason or ""):
        return f"the client ended the handshake: {reason}"
    return f"TLS handshake failed: {reason}"
