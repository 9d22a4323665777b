"""Conditions: what a group demands beside a credential, asked when the request has been parsed."""

from collections.abc import Mapping
from dataclasses import replace

from keyborn.domain.applicant import Applicant
from keyborn.domain.errors import KeybornError, KeyNotRegistered, MethodNotAccepted
from keyborn.domain.group import EnrollmentGroup
from keyborn.domain.group_rules import require_attributes
from keyborn.domain.method import Method, Way
from keyborn.ports import Request
from keyborn.service.gate import RuleBook
from keyborn.service.methods import ConditionMethod


class GroupConditions:
    """Implements ``ports.Conditions``."""

    def __init__(self, rules: RuleBook, methods: Mapping[Method, ConditionMethod]) -> None:
        self._rules = rules
        self._methods = methods

    async def met(self, applicant: Applicant, request: Request) -> Applicant:
        """See ``ports.Conditions.met``. Of several ways the first one whose conditions are met counts."""
        terms = applicant.terms
        if terms is None:
            return applicant
        group = await self._rules.rule(terms.group)
        require_attributes(group, request.attributes)
        if request.taken:
            return await self._ask(Method.ASK, applicant, request, group)
        unregistered: KeybornError | None = None
        for way in terms.ways:
            try:
                return await self._along(way, applicant, request, group)
            except KeyNotRegistered as refusal:
                unregistered = unregistered or refusal
        raise unregistered or MethodNotAccepted(group=group.name, shown="nothing", accepted="nothing")

    async def _along(
        self, way: Way, applicant: Applicant, request: Request, group: EnrollmentGroup
    ) -> Applicant:
        for method in way.conditions:
            applicant = await self._ask(method, applicant, request, group)
        return replace(applicant, details={**applicant.details, "method": str(way)})

    async def _ask(
        self, method: Method, applicant: Applicant, request: Request, group: EnrollmentGroup
    ) -> Applicant:
        asker = self._methods.get(method)
        if asker is None:
            raise MethodNotAccepted(group=group.name, shown=method.value, accepted="nothing like it")
        return await asker.met(applicant, request, group)
