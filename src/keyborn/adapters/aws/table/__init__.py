"""The registry on DynamoDB: one table, conditional transactions, no reads where a guess will do.

``table`` reads and commits, ``draft`` holds one round of one operation; ``enrolling``, ``renewing``,
``leasing``, ``ending``, ``tokens`` and ``policies`` are the operations, ``filing`` what they share; ``trail``
is the audit chain, ``outbox`` what AWS IoT has yet to follow, ``sightings`` who has connected; ``items``,
``keys`` and ``values`` are the encodings. ``sagas`` and ``registry`` are the ports.
"""

from keyborn.adapters.aws.table.items import Waiting
from keyborn.adapters.aws.table.leasing import GRACE, LostLease
from keyborn.adapters.aws.table.outbox import Dirt, Owed
from keyborn.adapters.aws.table.registry import DynamoRegistry
from keyborn.adapters.aws.table.sagas import Flight
from keyborn.adapters.aws.table.sightings import Sighting

__all__ = ["GRACE", "Dirt", "DynamoRegistry", "Flight", "LostLease", "Owed", "Sighting", "Waiting"]
