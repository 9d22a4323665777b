"""The embedded broker, or device gateway: MQTT 3.1.1 and 5 behind mutual TLS, with AWS IoT's semantics.

Reading order, from pure to wired: ``packets``, ``wire``, ``properties``, ``decode`` and ``encode`` (bytes and
values), ``topics``, ``message``, ``session``, ``store``, ``gate`` and ``hub`` (state and rules), ``tls`` and
``link`` (transport), ``admission`` (who may come in) and ``review`` (who may stay), ``connection``,
``meter``, ``turns``, ``answers``, ``inbox``, ``publishing``, ``subscribing`` and ``delivery`` (one client),
``journal_rows``, ``journal_file``, ``journal``, ``keeper`` and ``restore`` (what outlives a restart),
``gateway`` (the listener). A client's ``Rights`` are asked on connect, publish, retain, will, subscribe and
each delivery.

Sessions, queues and retained messages live in memory. With a ``Journal``, what of them must outlive the
broker is committed to its file before anybody is told that it is safe.
"""

from keyborn.adapters.broker.gateway import Gateway
from keyborn.adapters.broker.journal import Journal
from keyborn.adapters.broker.limits import Limits
from keyborn.adapters.broker.tls import server_context

__all__ = ["Gateway", "Journal", "Limits", "server_context"]
