"""An operator's own session with AWS: profile, region, clients, and what its errors say to a person.

The functions have clients of their own (``wiring/aws.py``): they know their region, and answer devices.
"""

import os
import re
import threading
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,  # noqa: A004 - botocore's own, which is not the built-in one
    CredentialRetrievalError,
    HTTPClientError,
    InvalidConfigError,
    InvalidRegionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOTokenLoadError,
    TokenRetrievalError,
    UnauthorizedSSOTokenError,
)

from keyborn.adapters.aws.calls import Patience, Rounds
from keyborn.adapters.aws.errors import AWS_ERRORS, code_of, is_passing, is_throttled
from keyborn.domain.errors import (
    AwsCallFailed,
    AwsCredentialsMissing,
    AwsCredentialsRefused,
    AwsDenied,
    AwsProfileMissing,
    AwsRegionMissing,
    AwsUnreachable,
    OperatorError,
)

UNKNOWN_CALLER = frozenset(
    {
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "RequestExpired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
"""AWS does not take the caller for anybody, or no longer."""
DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "AuthorizationErrorException",
        "Forbidden",
        "ForbiddenException",
        "NotAuthorized",
        "UnauthorizedException",
        "UnauthorizedOperation",
    }
)
"""AWS knows the caller, who may not do this."""
_ACTIONS = {"iotdata": "iot", "execute-api": "iot"}
"""What stands before actions in policies, where requests are signed with another word."""
MAX_ARN = 640
"""Characters of a caller's ARN that are kept: more than a user's path (512) and name (64) need."""
_PATIENCE = Patience(whole=20.0, first=0.5, longest=4.0)
_LOGIN = (CredentialRetrievalError, TokenRetrievalError, SSOTokenLoadError, UnauthorizedSSOTokenError)


class AwsSession:
    """One operator at one command: clients are made when they are first asked for, and only once."""

    def __init__(self, *, region: str | None = None, profile: str | None = None) -> None:
        """Both the standard way (environment, configuration) where they are not given. No I/O yet."""
        self._given_region = region
        self._profile = profile
        self._session: botocore.session.Session | None = None
        self._clients: dict[str, Any] = {}
        self.denied: OperatorError | None = None
        """What the last refusal that was about the caller means to the operator, whoever met it."""
        self._lock = threading.Lock()

    @property
    def region(self) -> str:
        """Where the clients work; raises AwsRegionMissing, AwsProfileMissing."""
        try:
            # AWS_REGION is what AWS's other tools read; botocore itself knows AWS_DEFAULT_REGION alone.
            named = self._given_region or os.environ.get("AWS_REGION")
            found = named or self._open().get_config_variable("region")
        except BotoCoreError as error:
            raise trouble(error, "sts:GetCallerIdentity") from error
        if not found:
            raise AwsRegionMissing
        return str(found)

    @cached_property
    def identity(self) -> Mapping[str, str]:
        """What AWS says of the caller, ``Account`` and ``Arn``; asked once, when it is first needed.

        AWS wants no permission for it (STS API Reference, GetCallerIdentity). Raises what ``client`` raises,
        or what ``trouble`` makes of an error of the call.
        """
        client, rounds = self.client("sts"), Rounds(_PATIENCE)
        while True:
            try:
                found: Mapping[str, str] = client.get_caller_identity()
            except AWS_ERRORS as error:
                if not is_passing(error) or not rounds.pause():
                    raise trouble(error, "sts:GetCallerIdentity") from error
            else:
                return found

    @property
    def caller(self) -> str:
        """The operator's ARN; at most ``MAX_ARN`` printable characters. Raises what ``identity`` raises."""
        arn = self.identity["Arn"]
        return "".join(one for one in arn if one.isprintable())[:MAX_ARN]

    def client(self, service: str, **settings: object) -> Any:  # noqa: ANN401 - botocore's clients have no types
        """A client of ``service`` (``iot-data``), which repeats nothing by itself; always the same one.

        ``settings`` are botocore's (Config) and count at the first call. Raises AwsProfileMissing,
        AwsRegionMissing, or AwsCredentialsMissing.
        """
        region = self.region
        with self._lock:
            if service not in self._clients:
                self._clients[service] = self._make(service, region, settings)
            return self._clients[service]

    def _make(self, service: str, region: str, settings: dict[str, object]) -> Any:  # noqa: ANN401 - as above
        usual: dict[str, Any] = {"connect_timeout": 5, "read_timeout": 15, "max_pool_connections": 16}
        config = Config(**usual | settings, retries={"mode": "standard", "total_max_attempts": 1})
        try:
            session = self._open()
            if session.get_credentials() is None:
                raise AwsCredentialsMissing
            client = session.create_client(service, region_name=region, config=config)
        except (BotoCoreError, ValueError) as error:  # ValueError: an endpoint that is no URL
            raise trouble(error, service) from error
        client.meta.events.register("after-call", self._note)
        return client

    def _note(self, parsed: Mapping[str, Any], model: Any, **_more: object) -> None:  # noqa: ANN401 - botocore's
        """Keep a refusal that adapters below put into words for devices, which know nothing of operators."""
        code = str(parsed.get("Error", {}).get("Code", ""))
        if code in UNKNOWN_CALLER | DENIED:
            service = str(model.service_model.signing_name)
            action = f"{_ACTIONS.get(service, service)}:{model.name}"
            self.denied = trouble(ClientError(dict(parsed), model.name), action)

    def _open(self) -> botocore.session.Session:
        if self._session is None:
            self._session = botocore.session.Session(profile=self._profile)
        return self._session


def trouble(error: BaseException, action: str) -> OperatorError:
    """The leaf of the tree that tells an operator what AWS, or the way to it, did not like about ``action``.

    ``action`` is written as in a policy, ``dynamodb:GetItem``; the caller raises the answer from ``error``.
    """
    if isinstance(error, ClientError):
        return _refusal(error, action)
    if isinstance(error, (HTTPClientError, ConnectionError)):
        return AwsUnreachable(service=action.partition(":")[0], detail=_plain(error))
    return _unprepared(error) or AwsCallFailed(action=action, detail=_plain(error))


def _unprepared(error: BaseException) -> OperatorError | None:
    """What is wrong on this machine: no call was made."""
    if isinstance(error, ProfileNotFound):
        return AwsProfileMissing(detail=_plain(error))
    if isinstance(error, NoRegionError):
        return AwsRegionMissing()
    if isinstance(error, NoCredentialsError):
        return AwsCredentialsMissing()
    if isinstance(error, (PartialCredentialsError, InvalidConfigError, InvalidRegionError, *_LOGIN)):
        return AwsCredentialsRefused(detail=_plain(error))
    return None


def _refusal(error: ClientError, action: str) -> OperatorError:
    """What a refusal by AWS itself means."""
    code = code_of(error)
    if code in UNKNOWN_CALLER:
        return AwsCredentialsRefused(detail=code)
    if code in DENIED:
        return AwsDenied(action=_permission(error) or action)
    if is_throttled(error) or is_passing(error):
        return AwsUnreachable(service=action.partition(":")[0], detail=code)
    message = str(error.response.get("Error", {}).get("Message", ""))
    return AwsCallFailed(action=action, detail=f"{code}: {_plain(message)}")


def _permission(error: ClientError) -> str | None:
    """The permission that AWS says is missing: a transaction is refused for that of one of its parts."""
    message = str(error.response.get("Error", {}).get("Message", ""))
    found = re.search(r"authorized to perform: ([a-z0-9-]{1,40}:[A-Za-z]{1,80})\b", message)
    return found[1] if found else None


def _plain(said: object) -> str:
    """Text of the outside as part of a sentence: one line, no control characters, no full stop, bounded."""
    text = "".join(one if one.isprintable() else " " for one in str(said))
    return " ".join(text.split())[:300].rstrip(".")
