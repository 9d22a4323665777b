"""Every bound of the broker in one place. Sizes are bytes, times are seconds."""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client, and all of them together, may cost.

    The first block holds AWS IoT Core's quotas (its page "AWS IoT Core endpoints and quotas", message broker
    and protocols); the others are ours.
    """

    packet: int = 146 * KIB
    """Largest MQTT packet, refused as soon as its header is read; announced to MQTT 5 clients."""
    payload: int = 128 * KIB
    """Largest payload of a publish or a will."""
    topic_bytes: int = 256
    topic_slashes: int = 7
    client_id_bytes: int = 128
    filters_per_subscribe: int = 8
    subscriptions: int = 50
    """Per session."""
    in_flight: int = 100
    """QoS 1 messages sent and not acknowledged, in each direction."""
    topic_aliases: int = 8
    """MQTT 5 aliases a client may set; the broker sets none itself."""
    keep_alive: int = 1200
    """Longest keep-alive; also used where a client asks for none."""
    session_expiry: int = 3600
    """How long a session may wait for its client, and how long an MQTT 3.1.1 one does."""

    sessions: int = 10_000
    """Connected and waiting ones together."""
    queue_messages: int = 1000
    """Waiting in one session, of each QoS; QoS 0 ones wait only while the client is connected and slow."""
    queue_bytes: int = MIB
    total_queue_bytes: int = 64 * MIB
    retained_messages: int = 5000
    retained_bytes: int = 32 * MIB
    retained_per_thing: int = 100

    packets_per_second: float = 1000
    """Of one connection, of every kind; beyond the burst it is read from no faster. AWS's quotas are 100
    publishes and 512 KiB a second per connection."""
    packets_burst: int = 2000
    bytes_per_second: float = 4 * MIB
    bytes_burst: int = 8 * MIB

    pending: int = 1024
    """Connections that have not been admitted: about three seconds of handshakes. Beyond it a newcomer is
    refused, unless an older one has kept us waiting for ``patience_seconds``: that one gives way."""
    patience_seconds: float = 1
    pending_bytes: int = 16 * MIB
    """What all of those may have sent without being admitted."""
    handshake_seconds: float = 10
    connect_seconds: float = 10
    """From the end of the TLS handshake to a whole CONNECT packet."""
    admission_seconds: float = 10
    """How long the registry may take to answer."""
    recheck_seconds: float = 300
    """How often an open session's certificate is looked up again; its expiry is watched exactly."""

    write_buffer: int = 256 * KIB
    """Bytes a slow reader may leave unread before its messages wait in its queue, and it is not read from."""
    stall_seconds: float = 30
    """How long a slow reader may read nothing at all before it is disconnected."""
    close_seconds: float = 0.5
    """How long a closing connection may take to read the last packet before it is cut: who is revoked is gone
    within a second, whether he reads or not."""
