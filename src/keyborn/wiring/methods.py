"""Who may enrol: every method, composed once for both backends."""

from dataclasses import dataclass

from keyborn.domain.method import Method
from keyborn.ports import Authenticator, Clock, GroupingRegistry, Nonces, Outbound
from keyborn.service.conditions import GroupConditions
from keyborn.service.gate import GroupGate, KeptRules
from keyborn.service.methods import ConditionMethod, CredentialMethod
from keyborn.service.methods.ask import AskMethod
from keyborn.service.methods.factory import FactoryMethod
from keyborn.service.methods.group_key import GroupKeyMethod
from keyborn.service.methods.oidc import OidcMethod
from keyborn.service.methods.registered import RegisteredMethod
from keyborn.service.methods.webhook import WebhookMethod


@dataclass(frozen=True, slots=True)
class Around:
    """What the methods need beside the registry."""

    clock: Clock
    nonces: Nonces
    """The same that signed requests of devices are given, whatever they ask for."""
    outbound: Outbound


def every_method(
    registry: GroupingRegistry, tokens: Authenticator, around: Around
) -> tuple[GroupGate, GroupConditions]:
    """The gate, and the conditions behind it. ``tokens`` proves tokens, and open enrolment where that is."""
    rules, clock = KeptRules(registry), around.clock
    credentials: dict[Method, CredentialMethod] = {
        Method.GROUP_KEY: GroupKeyMethod(registry, around.nonces),
        Method.FACTORY: FactoryMethod(around.nonces, clock),
        Method.OIDC: OidcMethod(around.outbound, clock),
    }
    conditions: dict[Method, ConditionMethod] = {
        Method.REGISTERED: RegisteredMethod(registry),
        Method.ASK: AskMethod(registry, clock, fleet=registry),
        Method.WEBHOOK: WebhookMethod(around.outbound, registry, clock),
    }
    gate = GroupGate(tokens=tokens, rules=rules, methods=credentials, clock=clock)
    return gate, GroupConditions(rules, conditions)
