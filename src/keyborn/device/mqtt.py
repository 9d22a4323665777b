"""paho's client, with one time limit for all that comes before the first byte of MQTT."""

import socket

from paho.mqtt.client import Client

from keyborn.device import tls


class TimedClient(Client):
    """``connect_timeout`` bounds names, TCP and TLS together.

    paho would grant it to each address of the name and to the handshake again: beyond a firewall that drops
    packets, a minute and a half for the eight addresses of an endpoint of AWS.
    """

    def _create_socket(self) -> socket.socket:
        assert self._ssl_context is not None
        return tls.dial(self._ssl_context, self._host, self._port, self.connect_timeout)
