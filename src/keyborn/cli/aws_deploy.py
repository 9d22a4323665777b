"""``keyborn aws deploy``: make the stack, or bring it up to date; shown first, then done."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from keyborn.cli.aws_outputs import facts
from keyborn.cli.aws_place import (
    check_name,
    has_terminal,
    interruptible,
    place_options,
    reach,
    stack_option,
    tell,
)
from keyborn.cli.output import json_option, lines, show, typed

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from keyborn.adapters.aws.stack.deploy import Deployment, Draft
    from keyborn.adapters.aws.stack.outputs import StackOutputs
    from keyborn.adapters.aws.stack.stacks import Plan
    from keyborn.adapters.aws.stack.wishes import Wishes

_FILE = click.Path(dir_okay=False, path_type=Path)
_DAYS = ["1", "3", "5", "7", "14", "30", "60", "90", "120", "150", "180", "365", "400", "545", "731"]
_ENDPOINT = re.compile(r"([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?)?")
_URL = re.compile(r"(https://[A-Za-z0-9.-]+(:[0-9]{1,5})?)?")
_EMAIL = re.compile(r"([^@\s]+@[^@\s]+)?")
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]+(/[A-Za-z0-9_.:-]+)*")
_INTERRUPTED = (
    "What CloudFormation has begun it goes on with by itself. Repeat the command: it waits for that, then "
    "does what is left."
)


@click.command()
@stack_option
@place_options
@click.option("--architecture", type=click.Choice(["arm64", "x86_64"]), help="What Lambda runs on.  [arm64]")
@click.option("--runtime", metavar="NAME", help="Lambda's Python.  [python3.13]")
@click.option(
    "--url", metavar="URL", help="A custom domain of the API, https://…; '' for the API's own address."
)
@click.option(
    "--url-root", type=_FILE, help="The root that signs the custom domain's certificate, if private."
)
@click.option(
    "--mqtt-endpoint", metavar="HOST[:PORT]", help="A custom domain of AWS IoT; '' for the account's."
)
@click.option("--mqtt-roots", metavar="FILE", help="What devices trust there, PEM; '' for Amazon's roots.")
@click.option("--topic-prefix", metavar="LEVELS", help="First levels of every device's topics.  [certtest]")
@click.option(
    "--enrollments-per-second",
    type=click.FloatRange(0.1, 1000),
    help="Admission; stays below the account's quota for UpdateCertificate.  [9.8]",
)
@click.option("--alarm-email", metavar="ADDRESS", help="Who gets the alarms; '' for nobody.")
@click.option(
    "--log-retention-days", type=click.Choice(_DAYS), metavar="DAYS", help="How long logs stay.  [30]"
)
@click.option(
    "--memory", type=click.IntRange(128, 10240), metavar="MB", help="Of the enrolment function.  [512]"
)
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="On everything that takes tags.")
@click.option("--dry-run", is_flag=True, help="Show what would change and change nothing.")
@click.option("--yes", is_flag=True, help="Apply without asking.")
@json_option
def deploy(
    *,
    stack: str,
    region: str | None,
    profile: str | None,
    account: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **options: Any,  # noqa: ANN401 - the stack's options, each None if it was not given
) -> None:
    """Make the stack, or bring it up to date. What would change is shown first; then you are asked.

    An option that is not given keeps the value of the last deploy. Repeating is harmless, after an
    interruption, too: a deploy that finds everything in order changes nothing.

    Example: keyborn aws deploy --region eu-central-1 --alarm-email ops@example.com
    """
    wishes = _wishes(**options)
    if not (yes or dry_run or has_terminal()):
        raise click.UsageError("Nobody can be asked here: say --yes to apply, or --dry-run to look.")
    from keyborn.adapters.aws.package import require_pip
    from keyborn.adapters.aws.stack.deploy import Deployment

    name = check_name(stack)
    require_pip()
    orders, place = reach(region, profile, account)
    tell(f"Stack {name} in account {place.account}, region {place.region}, as {place.who}.")
    work = Deployment(orders, place, name, tell)
    with interruptible(_INTERRUPTED):
        draft = work.draft(wishes)
        changed = _carry_out(work, draft, dry_run=dry_run, yes=yes)
        if not dry_run and changed is not None:
            _finish(work, draft, changed=changed, profile=profile, as_json=as_json)
        elif as_json:
            click.echo(json.dumps({"stack": name, "changed": False, "changes": _rows(draft.plan)}))


def _carry_out(work: "Deployment", draft: "Draft", *, dry_run: bool, yes: bool) -> bool | None:
    """Whether the stack was changed; None if it was not to be."""
    if draft.plan is None:
        tell("Nothing changes: the stack is as it should be.")
        return False
    _show(draft.plan)
    try:
        wanted = not dry_run and (yes or click.confirm("Apply this?", err=True))
    except (click.Abort, KeyboardInterrupt):
        wanted = False
    if not wanted:
        work.stack.discard(draft.plan)
        tell("Nothing was changed.")
        return None
    work.apply(draft)
    return True


def _show(plan: "Plan") -> None:
    for line in lines(_rows(plan), ["action", "resource", "type", "replacement"]):
        tell(line)


def _rows(plan: "Plan | None") -> list[dict[str, str | None]]:
    if plan is None:
        return []
    return [
        {
            "action": one.action,
            "resource": one.resource,
            "type": one.type,
            "replacement": one.replacement or None,
        }
        for one in plan.changes
    ]


def _finish(work: "Deployment", draft: "Draft", *, changed: bool, profile: str | None, as_json: bool) -> None:
    """Ship the default policy, and say where devices enroll."""
    from keyborn.adapters.aws.stack.outputs import read_outputs
    from keyborn.wiring.aws_stack import ship

    session = work.session
    found = read_outputs(session.client("cloudformation"), work.stack.name)
    work.require_genuine(draft)
    work.reopen(found)
    ship(session, found)
    if as_json:
        done = {
            "stack": found.stack,
            "changed": changed,
            "changes": _rows(draft.plan),
            "outputs": facts(found),
        }
        click.echo(json.dumps(done))
        return
    _greet(found, session.region, profile)


def _greet(found: "StackOutputs", region: str, profile: str | None) -> None:
    known = facts(found)
    show({name: known[name] for name in ("stack", "status", "url", "mqttEndpoint", "table")}, as_json=False)
    place = typed(aws=found.stack, region=region, profile=profile)
    click.echo(f"\nNext: keyborn token create{place} --thing gateway-1")


# ── options ───────────────────────────────────────────────────────────────────────────────────────────


def _wishes(
    *,
    architecture: str | None,
    runtime: str | None,
    url: str | None,
    url_root: Path | None,
    mqtt_endpoint: str | None,
    mqtt_roots: str | None,
    topic_prefix: str | None,
    enrollments_per_second: float | None,
    alarm_email: str | None,
    log_retention_days: str | None,
    memory: int | None,
    tags: tuple[str, ...],
) -> "Wishes":
    """The options, checked. Raises UsageError."""
    from keyborn.adapters.aws.stack.wishes import Wishes

    _match(url, _URL, "--url takes https://HOST or https://HOST:PORT, without a path.")
    _match(mqtt_endpoint, _ENDPOINT, "--mqtt-endpoint takes HOST or HOST:PORT.")
    _match(
        topic_prefix, _PREFIX, "--topic-prefix takes levels of letters, digits and _ . : - with / between."
    )
    _match(alarm_email, _EMAIL, "--alarm-email takes NAME@DOMAIN.")
    _match(runtime, re.compile(r"python3\.1[1-9]"), "--runtime takes python3.11 or newer.")
    root = None if url_root is None else _url_root(url_root)
    return Wishes(
        architecture=architecture,
        runtime=runtime,
        url=url,
        root_fingerprint=None if root is None else _fingerprint(root),
        url_root=None if root is None else _bare([root]),
        mqtt_endpoint=mqtt_endpoint,
        mqtt_roots=None if mqtt_roots is None else _roots(mqtt_roots),
        topic_prefix=topic_prefix,
        enrollments_per_second=enrollments_per_second,
        alarm_email=alarm_email,
        log_retention_days=None if log_retention_days is None else int(log_retention_days),
        memory=memory,
        tags=dict(map(_tag, tags)),
    )


def _match(text: str | None, shape: re.Pattern[str], sentence: str) -> None:
    if text is not None and not shape.fullmatch(text):
        raise click.UsageError(sentence)


def _tag(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not key or not found or key.lower().startswith(("aws:", "keyborn:")):
        raise click.UsageError(f"--tag takes KEY=VALUE, and no KEY of AWS's or Keyborn's own: {text!r}.")
    return key, value


def _fingerprint(certificate: "Certificate") -> str:
    """SHA-256 of a certificate."""
    from cryptography.hazmat.primitives.hashes import SHA256

    return certificate.fingerprint(SHA256()).hex()


def _url_root(path: Path) -> "Certificate":
    """The one certificate in a file."""
    found = _certificates(path, "--url-root")
    if len(found) != 1:
        raise click.UsageError(
            f"--url-root takes a file with one certificate, the root; {path} has {len(found)}."
        )
    return found[0]


def _bare(certificates: "list[Certificate]") -> bytes:
    """Their PEM without the words that a file may have between them: a device takes none."""
    from cryptography.hazmat.primitives.serialization import Encoding

    return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)


def _roots(path: str) -> bytes:
    """PEM of the certificates in a file, and of nothing else; empty for no file. Raises InvalidSetting."""
    from keyborn.adapters.aws.stack.wishes import require_takable

    if not path:
        return b""
    roots = _bare(_certificates(Path(path), "--mqtt-roots"))
    require_takable(roots, "--mqtt-roots")
    return roots


def _certificates(path: Path, option: str) -> "list[Certificate]":
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as trouble:
        raise click.UsageError(
            f"{option}: {path} is not a readable file of certificates in PEM."
        ) from trouble
