"""Orders to AWS as a deployer gives them: repeated a few times where that is safe, errors said in words."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from keyborn.adapters.aws.calls import Answer, Expected, Patience, Rounds
from keyborn.adapters.aws.errors import AWS_ERRORS, code_of, is_passing, proves_nothing_done
from keyborn.adapters.aws.session import AwsSession, trouble
from keyborn.domain.errors import AwsAccountDiffers

_PATIENCE = Patience(whole=20.0, first=0.5, longest=4.0)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose account, and where in it."""

    partition: str
    account: str
    region: str
    who: str
    """The caller's ARN."""


class Orders:
    """The services of one account and region, called by name."""

    def __init__(self, session: AwsSession) -> None:
        self.session = session

    def place(self, account: str | None = None) -> Place:
        """Who asks, and where; raises AwsAccountDiffers if it is not ``account``, leaves of OperatorError."""
        region = self.session.region
        who = self.session.identity
        if account is not None and who["Account"] != account:
            raise AwsAccountDiffers(account=who["Account"], wanted=account)
        return Place(who["Arn"].split(":")[1], who["Account"], region, who["Arn"])

    def ask(
        self,
        service: str,
        operation: str,
        *,
        expected: Collection[str] = (),
        repeatable: bool = True,
        **parameters: Any,  # noqa: ANN401 - as botocore takes them
    ) -> Answer:
        """Call ``operation`` (``CreateStack``) and return its answer.

        Raises Expected for a code of ``expected``, else leaves of OperatorError. One that is not
        ``repeatable`` is repeated only if it surely was not done.
        """
        client, rounds = self.session.client(service), Rounds(_PATIENCE)
        method = getattr(client, _method(operation))
        while True:
            try:
                answer: Answer = method(**parameters)
            except AWS_ERRORS as error:
                if code_of(error) in expected:
                    raise Expected(error) from error
                again = is_passing(error) and (repeatable or proves_nothing_done(error))
                if not again or not rounds.pause():
                    raise trouble(error, f"{_PREFIX.get(service, service)}:{operation}") from error
            else:
                return answer

    def pages(
        self,
        service: str,
        operation: str,
        member: str,
        *,
        mark: tuple[str, str] = ("NextToken", "NextToken"),
        **parameters: Any,  # noqa: ANN401 - as above
    ) -> Iterator[Any]:
        """Every row of a list; ``mark``: the names of the page's mark in the question and in the answer."""
        begin: dict[str, Any] = {}
        while True:
            answer = self.ask(service, operation, **parameters, **begin)
            yield from answer.get(member, ())
            if not answer.get(mark[1]):
                return
            begin = {mark[0]: answer[mark[1]]}


_PREFIX = {"iot-data": "iot"}
"""Services whose actions have another prefix in policies."""


def _method(operation: str) -> str:
    words = "".join(f"_{one.lower()}" if one.isupper() else one for one in operation)
    return words.removeprefix("_")
