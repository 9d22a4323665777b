"""The command line's edge: one place maps the error tree to sentences and exit codes."""

import json
import sys

import click

from keyborn.domain.errors import KeybornError

INTERRUPTED = 130


def run(command: click.Command) -> int:
    """Run ``command``; returns 0 (done), 1 (refused or failed), 2 (usage), 130 (interrupted)."""
    try:
        return command.main(standalone_mode=False) or 0
    except KeybornError as error:
        _report(error)
        return 1
    except click.Abort:
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; python would complain at exit
        return 1


def _report(error: KeybornError) -> None:
    if "--json" in sys.argv[1:]:
        problem: dict[str, object] = {"code": error.code, "detail": str(error)}
        if error.retry_after is not None:
            problem["retryAfter"] = error.retry_after
        click.echo(json.dumps(problem), err=True)
    else:
        click.echo(f"keyborn: {error} [{error.code}]", err=True)
