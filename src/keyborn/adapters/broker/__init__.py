"""The embedded broker, or device gateway: MQTT 3.1.1 and 5 behind mutual TLS, with AWS IoT's semantics.

Reading order, from pure to wired: ``packets``, ``wire``, ``properties``, ``decode`` and ``encode`` (bytes and
values), ``topics``, ``message``, ``session``, ``store``, ``gate`` and ``hub`` (state and rules), ``tls`` and
``link`` (transport), ``admission`` (who may come in), ``connection``, ``publishing``, ``subscribing`` and
``delivery`` (one client), ``gateway`` (the listener). ``AccessRules`` is asked on connect, publish, retain,
will, subscribe and each delivery.

Sessions, queues and retained messages live in memory: a restart of the broker forgets them, and clients learn
it from "session present" being 0. ``store`` is the seam behind which a durable store will stand.
"""

from keyborn.adapters.broker.gateway import Gateway
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.tls import server_context

__all__ = ["Gateway", "Limits", "server_context"]
