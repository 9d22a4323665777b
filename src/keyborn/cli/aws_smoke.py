"""``keyborn aws smoke``: try in a real account what Keyborn takes for granted about AWS."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.aws_place import check_name, place_options, reach, stack_option, tell
from keyborn.cli.output import json_option, lines, table

if TYPE_CHECKING:
    from keyborn.adapters.aws.session import AwsSession
    from keyborn.adapters.aws.smoke.check import Check
    from keyborn.adapters.aws.smoke.lab import Lab
    from keyborn.adapters.aws.smoke.ledger import Ledger
    from keyborn.adapters.aws.smoke.report import Report
    from keyborn.adapters.aws.smoke.run import Finding
    from keyborn.adapters.aws.stack.orders import Place
    from keyborn.adapters.aws.stack.outputs import StackOutputs

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@stack_option
@place_options
@click.option("--only", multiple=True, metavar="NAME", help="Only this check; may be repeated.")
@click.option("--list", "as_list", is_flag=True, help="List the checks and ask AWS nothing.")
@click.option("--burst", is_flag=True, help="Do the checks too that send many calls at once.")
@click.option("--mqtt-roots", type=_FILE, help="Whom to trust for MQTT, PEM, if not Amazon's roots.")
@click.option(
    "--patience",
    type=click.FloatRange(1, 900),
    default=120,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for what AWS does in the background.",
)
@click.option("--clean", is_flag=True, help="Only remove what earlier runs could not.")
@click.option("--report", type=_FILE, help="Write a report fit for an issue (Markdown) to this file.")
@click.option("--full", is_flag=True, help="Do not mask account and addresses.")
@json_option
def smoke(
    *,
    stack: str,
    region: str | None,
    profile: str | None,
    account: str | None,
    only: tuple[str, ...],
    as_list: bool,
    burst: bool,
    mqtt_roots: Path | None,
    clean: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - the options of a run
) -> None:
    """Try in this account what Keyborn takes for granted about AWS, and report what is otherwise.

    Takes about five minutes and costs a few cents. Everything that it makes is called keyborn-smoke-… and is
    removed at the end, after an interruption, too; what a run that was killed left is removed by the next.

    Example: keyborn aws smoke --stack keyborn --report smoke.md
    """
    checks = _chosen(only)
    roots = _roots(mqtt_roots)
    if as_list:
        rows = [{"check": one.name, "burst": one.burst, "assumption": one.assumption} for one in checks]
        table(rows, ["check", "burst", "assumption"], as_json=as_json, empty="")
        return
    name = check_name(stack)
    orders, place = reach(region, profile, account)
    broom = _Broom(orders.session, place, options["patience"])
    with _interruptible():
        broom.clear_abandoned()
        if clean:
            broom.require_empty()
            return
        run = _Run(broom, _outputs(orders.session, name), roots, as_json=as_json, **options)
        run.carry_out([one for one in checks if burst or not one.burst or one.name in only])
        run.conclude()


def _chosen(only: tuple[str, ...]) -> "list[Check]":
    """The checks by their names, in the order in which they are done. Raises UsageError."""
    from keyborn.adapters.aws.smoke.catalog import ALL

    known = {one.name for one in ALL}
    if unknown := [name for name in only if name not in known]:
        raise click.UsageError(f"There is no check called {unknown[0]}. List them with --list.")
    return [one for one in ALL if not only or one.name in only]


def _outputs(session: "AwsSession", stack: str) -> "StackOutputs":
    from keyborn.adapters.aws.stack.outputs import read_outputs

    return read_outputs(session.client("cloudformation"), stack)


class _Broom:
    """Removes what runs made, in one account and region."""

    def __init__(self, session: "AwsSession", place: "Place", patience: float) -> None:
        from keyborn.adapters.aws.smoke.undo import Undo
        from keyborn.cli.state import state_folder

        self.session = session
        self.folder = state_folder() / "aws" / f"{place.account}-{place.region}"
        self.left: list[tuple[str, str]] = []
        """What did not go, each with the command that removes it."""
        self._patience = patience
        self._undo = Undo(session, f"arn:{place.partition}:iot:{place.region}:{place.account}")

    def clear_abandoned(self) -> None:
        """Remove what runs left that were killed."""
        from keyborn.adapters.aws.smoke.ledger import abandoned

        for ledger in abandoned(self.folder):
            tell(f"An earlier run left {len(ledger.owed)} things behind; removing them.")
            self.clear(ledger)

    def clear(self, ledger: "Ledger") -> None:
        """Remove what one run made; what does not go is told."""
        from keyborn.adapters.aws.smoke.run import clear, rounds_within

        for one in clear(ledger, self._undo, rounds=rounds_within(self._patience)):
            what, command = f"{one.kind} {one.name.partition('@')[0]}", self._undo.command(one)
            self.left.append((what, command))
            tell(f"Could not remove {what}. Do it with: {command}")

    def require_empty(self) -> None:
        """Raises SmokeLeftovers."""
        from keyborn.domain.errors import SmokeLeftovers

        if self.left:
            raise SmokeLeftovers(count=len(self.left))


class _Run:
    """One run, from the first check to the report."""

    def __init__(
        self,
        broom: _Broom,
        outputs: "StackOutputs",
        roots: str,
        *,
        as_json: bool,
        patience: float,
        report: Path | None,
        full: bool,
    ) -> None:
        from keyborn.adapters.aws.smoke.report import Mask

        self._broom, self._outputs, self._roots = broom, outputs, roots
        self._json, self._file, self._patience = as_json, report, patience
        self._mask: Mask | None = None if full else Mask(outputs)
        self._findings: list[Finding] = []
        self._begun = datetime.now(UTC)

    def carry_out(self, checks: "list[Check]") -> None:
        """Do the checks; then, whatever happened, remove what they made."""
        from keyborn.adapters.aws.smoke.ledger import open_ledger
        from keyborn.adapters.aws.smoke.run import examine

        name = _random_name()
        with open_ledger(self._broom.folder, name) as ledger:
            try:
                self._findings = examine(self._lab(ledger, name), checks, self._tell)
            finally:
                tell("Removing what was made.")
                self._broom.clear(ledger)

    def conclude(self) -> None:
        """Print and write the report. Raises SmokeLeftovers, AssumptionsDiffer."""
        from keyborn.domain.errors import AssumptionsDiffer

        report = self._report()
        if self._file is not None:
            self._file.write_text(self._masked(report.markdown()), encoding="utf-8")
        if self._json:
            click.echo(self._masked(json.dumps(report.document())))
        else:
            self._print(report)
        self._broom.require_empty()
        if report.differing:
            raise AssumptionsDiffer(
                count=len(report.differing), whole=len(self._findings), names=", ".join(report.differing)
            )

    def _lab(self, ledger: "Ledger", name: str) -> "Lab":
        from keyborn.adapters.aws.smoke.lab import Lab, Pace

        pace = Pace(later=self._patience, answer=min(10.0, self._patience))
        return Lab(self._broom.session, self._outputs, ledger, run=name, roots=self._roots, pace=pace)

    def _tell(self, finding: "Finding") -> None:
        tell(self._masked(f"{finding.word:<11}  {finding.check.name}: {finding.seen}"))

    def _masked(self, text: str) -> str:
        return text if self._mask is None else self._mask(text)

    def _report(self) -> "Report":
        import botocore

        from keyborn import __version__
        from keyborn.adapters.aws.smoke.report import Report

        return Report(
            stack=self._outputs.stack,
            region=self._outputs.region,
            versions={"keyborn": __version__, "botocore": botocore.__version__},
            begun=self._begun.isoformat(timespec="seconds"),
            seconds=(datetime.now(UTC) - self._begun).total_seconds(),
            findings=self._findings,
            left=self._broom.left,
        )

    def _print(self, report: "Report") -> None:
        for line in lines(report.rows(), ["check", "verdict", "seen"]):
            click.echo(self._masked(line))
        for one in self._findings:
            if one.means or one.remedy:
                click.echo(f"\n{one.check.name}: {one.check.assumption}\n  {one.means}\n  {one.remedy}")
        click.echo("\n" + ", ".join(f"{count} {word}" for word, count in report.counts.items()) + ".")


def _roots(path: Path | None) -> str:
    from keyborn.adapters.aws.roots import amazon_roots

    if path is None:
        return amazon_roots()
    from cryptography import x509

    try:
        x509.load_pem_x509_certificates(path.read_bytes())
        return path.read_text("ascii")
    except (OSError, ValueError) as trouble:
        raise click.UsageError(
            f"--mqtt-roots: {path} is not a readable file of certificates in PEM."
        ) from trouble


def _random_name() -> str:
    import secrets

    return "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(8))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let SIGTERM end the run as ^C does: what was made is removed before."""

    def _stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    except KeyboardInterrupt:
        tell("\nInterrupted.")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
