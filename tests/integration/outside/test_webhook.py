"""The webhook against a real receiver: what it is asked, what its word does, and that silence enrols nobody."""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from keyborn.adapters.memory import MemoryRegistry
from keyborn.adapters.outbound import HttpsOutbound
from keyborn.adapters.system import SystemClock
from keyborn.domain.access_policy.document import PolicyName
from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import KeybornError, WebhookRefused, WebhookUnavailable
from keyborn.domain.group import EnrollmentGroup, GroupDocument, Terms, WebhookRule, account_of
from keyborn.domain.method import Method, Way
from keyborn.domain.names import GroupName, KeyHash, NameScope, ThingName
from keyborn.domain.token import TokenId
from keyborn.domain.webhook import shown_secret
from keyborn.ports import Clock, Request
from keyborn.service.circuit import MOST_FAILURES, MOST_RUNNING
from keyborn.service.methods.webhook import WebhookMethod
from keyborn.testing.time import VirtualClock
from support.rude_service import (
    Exchange,
    Reply,
    RudeService,
    dripping,
    endless,
    plain,
    rude_service,
    silent,
)

PATH = "/may-enroll"
SECRET = bytes(range(32))
LINE = GroupName("line-7")


class Groups:
    """The documents, as the registry keeps them: only their secrets matter here."""

    def __init__(self, secret: bytes | None = SECRET) -> None:
        self.secret = secret

    async def put_group(self, group: GroupDocument, event: object) -> GroupDocument:
        return group

    async def group(self, name: GroupName) -> GroupDocument | None:
        return GroupDocument(name, "", SystemClock().now(), webhook_secret=self.secret)

    async def remove_group(self, name: GroupName, event: object) -> None:
        return
