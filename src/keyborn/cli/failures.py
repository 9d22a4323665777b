"""The command line's edge: one place maps the error tree to sentences and exit codes."""

import json
import os
import sys

import click

from keyborn.domain.errors import KeybornError, SystemTrouble

INTERRUPTED = 130


def run(command: click.Command) -> int:
    """Run ``command``; returns 0 (done), 1 (refused or failed), 2 (usage), 130 (interrupted)."""
    try:
        return command.main(standalone_mode=False) or 0
    except KeybornError as error:
        _report(error)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; python would complain at exit
        return 1
    except OSError as trouble:
        place = f" ({trouble.filename})" if trouble.filename else ""
        _report(SystemTrouble(reason=(trouble.strerror or type(trouble).__name__) + place))
        _give_up_output()
        return 1
    except click.ClickException as error:
        _show(error)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED


def _give_up_output() -> None:
    """What cannot be written goes nowhere: Python would try again at exit, complain, and end with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _show(error: click.ClickException) -> None:
    if _for_programs():
        click.echo(json.dumps({"code": "usage", "detail": error.format_message()}), err=True)
    else:
        error.show()


def _for_programs() -> bool:
    return "--json" in sys.argv[1:]


def _report(error: KeybornError) -> None:
    if _for_programs():
        problem: dict[str, object] = {"code": error.code, "detail": str(error)}
        if error.retry_after is not None:
            problem["retryAfter"] = error.retry_after
        click.echo(json.dumps(problem), err=True)
    else:
        click.echo(f"keyborn: {error} [{error.code}]", err=True)
