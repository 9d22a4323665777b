from keyborn.device.api.device import Device as Device
from keyborn.device.api.subscription import Subscription as Subscription
from keyborn.device.api.sync import SyncDevice as SyncDevice, SyncSubscription as SyncSubscription
from keyborn.device.api.values import Receipt as Receipt, Status as Status
from keyborn.device.messages import Counts as Counts, Fate as Fate, Outcome as Outcome
from keyborn.device.session import Received as Received
from keyborn.domain.errors import AgentRefused as AgentRefused, KeybornError as KeybornError

__version__: str
