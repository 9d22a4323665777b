"""What the commands of ``keyborn aws`` share: options, the way to the account, questions, progress."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from keyborn.adapters.aws.session import AwsSession
    from keyborn.adapters.aws.stack.orders import Orders, Place

F = TypeVar("F", bound=Callable[..., Any])
_DIGITS = 12

stack_option = click.option(
    "--stack",
    default="keyborn",
    show_default=True,
    envvar="KEYBORN_AWS_STACK",
    show_envvar=True,
    metavar="NAME",
    help="The stack's name: letters, digits and hyphens.",
)


def account_number(_context: click.Context, _option: click.Parameter, account: str | None) -> str | None:
    """An account as AWS numbers them, or none was named. Raises UsageError."""
    if account is not None and not (len(account) == _DIGITS and account.isascii() and account.isdecimal()):
        raise click.UsageError("--account takes twelve digits.")
    return account


def place_options(command: F) -> F:
    """``--region``, ``--profile``, ``--account``."""
    for option in (
        click.option(
            "--account",
            metavar="ID",
            callback=account_number,
            help="Refuse unless the credentials are of this account.",
        ),
        click.option("--profile", metavar="NAME", help="An AWS profile.  [default: AWS_PROFILE, or none]"),
        click.option(
            "--region", metavar="NAME", help="An AWS region.  [default: AWS_REGION or the profile's]"
        ),
    ):
        command = option(command)
    return command


def check_name(stack: str) -> str:
    """The name, as its parts take it: a role's name, and IoT's, are made of it."""
    import re

    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,39}", stack):
        raise click.UsageError("--stack takes a letter, then up to 39 letters, digits and hyphens.")
    return stack


def reach(region: str | None, profile: str | None, account: str | None) -> "tuple[Orders, Place]":
    """The account's services, and whose they are. Raises leaves of OperatorError."""
    from keyborn.adapters.aws.session import AwsSession
    from keyborn.adapters.aws.stack.orders import Orders

    orders = Orders(AwsSession(region=region, profile=profile))
    return orders, orders.place(account)


def open_session(region: str | None, profile: str | None, account: str | None) -> "AwsSession":
    """For who only looks: whose the account is, is asked only where one was named. Raises as ``reach``."""
    from keyborn.adapters.aws.session import AwsSession

    if account is None:
        return AwsSession(region=region, profile=profile)
    return reach(region, profile, account)[0].session


def tell(line: str) -> None:
    """Progress: on standard error, so that output stays for programs."""
    click.echo(line, err=True)


def has_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """Say ``sentence`` if the operator interrupts."""
    try:
        yield
    except KeyboardInterrupt:
        tell(f"\nInterrupted. {sentence}")
        raise
