"""Workers: HTTP in processes of its own, beside the one core that keeps registry, keys and broker.

``line`` carries numbered calls between two processes, ``calls`` is the closed list of them, ``forms`` how
their values are written down. ``remote`` is what a worker has in the place of the core's parts, ``handover``
how the core serves it, ``nursery`` keeps the processes. Why so: ``docs/adr/0028-one-core-many-workers.md``.
"""
