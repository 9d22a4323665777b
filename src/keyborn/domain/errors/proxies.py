"""Leaves of requests that come through a proxy in front of the service."""

from keyborn.domain.errors.tree import Forbidden


class ProxyUntrusted(Forbidden):
    """A request without TLS from an address that is none of the service's proxies."""

    code = "proxy_untrusted"
    sentence = (
        "This address takes requests from the service's own proxies alone, and the sender is none of them. "
        "Use the service's HTTPS address, or name the proxy in trusted_proxies."
    )


class ClientCertificateRefused(Forbidden):
    """The client certificate that a proxy passed on is none that TLS would have taken."""

    code = "client_certificate_refused"
    sentence = (
        "The client certificate of this connection is not taken: {detail}. "
        "Connect with a current certificate of this service, or with none."
    )
