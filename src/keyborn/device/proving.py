"""A handshake with the broker and nothing more: who is there, and under which root."""

import ssl

from keyborn.device import proxy, tls
from keyborn.device.identity import Identity
from keyborn.domain.errors import BrokerUnreachable, BrokerUntrusted


def prove_broker(own: Identity, context: ssl.SSLContext, seconds: float) -> None:
    """Return once the broker has proved itself to ``context``, on one of its ports.

    Raises BrokerUntrusted, BrokerUnreachable.
    """
    try:
        _prove(own, context, seconds)
    except BrokerUnreachable:
        second = own.on_fallback()
        if second is None:
            raise
        _prove(second, context, seconds)


def _prove(own: Identity, context: ssl.SSLContext, seconds: float) -> None:
    broker = own.broker
    name = f"{broker.endpoint}:{broker.port}"
    context.set_alpn_protocols([broker.alpn] if broker.alpn else [])
    try:
        tls.dial(context, broker.endpoint, broker.port, seconds, proxy.MQTT).close()
    except ssl.SSLCertVerificationError as wrong:
        raise BrokerUntrusted(broker=name, detail=tls.explain(wrong)) from None
    except ssl.SSLError as wrong:
        raise BrokerUnreachable(broker=name, detail=tls.explain(wrong)) from None
    except OSError as wrong:
        raise BrokerUnreachable(broker=name, detail=wrong.strerror or "it cannot be reached") from None
