from keyborn.device.api.device import Device as Device
from keyborn.device.api.subscription import Subscription as Subscription
from keyborn.device.api.sync import SyncDevice as SyncDevice
from keyborn.device.api.sync import SyncSubscription as SyncSubscription
from keyborn.device.api.values import Receipt as Receipt
from keyborn.device.api.values import Status as Status
from keyborn.device.messages import Counts as Counts
from keyborn.device.messages import Fate as Fate
from keyborn.device.messages import Outcome as Outcome
from keyborn.device.session import Received as Received
from keyborn.domain.errors import AgentRefused as AgentRefused
from keyborn.domain.errors import KeybornError as KeybornError

__version__: str
