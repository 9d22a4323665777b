"""A device that says something five times a second, with a will and a short keep-alive, until it is stopped.

Usage: beating_device.py HOST PORT NAME CERTIFICATE KEY ROOTS KEEP_ALIVE
"""

import signal
import sys
import time

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

LIFE = 60
"""Seconds after which it ends, whatever happens."""


def main() -> int:
    host, port, name, certificate, key, roots, keep_alive = sys.argv[1:]
    signal.alarm(LIFE)
    client = Client(CallbackAPIVersion.VERSION2, client_id=name)
    client.tls_set(roots, certificate, key)
    client.will_set(f"certtest/{name}/will", "gone", qos=1)
    client.connect(host, int(port), int(keep_alive))
    client.loop_start()
    while True:
        client.publish(f"certtest/{name}/beat", "beat", qos=0)
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
