"""``keyborn aws permissions``: the IAM policy that a deployer needs."""

import json
import re
from functools import partial

import click

from keyborn.cli.aws_place import account_number, check_name, stack_option


@click.command()
@stack_option
@click.option("--region", required=True, metavar="NAME", help="The region of the stack.")
@click.option(
    "--account", required=True, metavar="ID", callback=account_number, help="The account, twelve digits."
)
@click.option("--partition", default="aws", show_default=True, help="aws, aws-cn or aws-us-gov.")
@click.option("--role", type=click.Choice(["viewer", "admin"]), help="For an operator who deploys nothing.")
@click.option("--smoke", is_flag=True, help="For who runs keyborn aws smoke, instead.")
@click.option("--compact", is_flag=True, help="On one line, as a managed policy has to be to fit.")
def permissions(
    *, stack: str, region: str, account: str, partition: str, role: str | None, smoke: bool, compact: bool
) -> None:
    """Print the IAM policy for who deploys, operates and destroys one stack. Asks AWS nothing.

    With --role it is for an operator who deploys nothing: an admin, or a viewer, who may not change anything.
    How long such a permission lasts, AWS says (STS, IAM Identity Center): a stack has no API keys.

    Example: keyborn aws permissions --region eu-central-1 --account 123456789012 > deployer.json

    Example: keyborn aws permissions --role viewer --region eu-central-1 --account 123456789012
    """
    from keyborn.adapters.aws.stack.orders import Place
    from keyborn.adapters.aws.stack.permissions import deployer_policy, operator_policy, smoke_policy
    from keyborn.domain.api_key import Role

    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-[0-9]", region):
        raise click.UsageError("--region takes a region, such as eu-central-1.")
    if not re.fullmatch(r"aws(-[a-z]+)*", partition):
        raise click.UsageError("--partition takes aws, aws-cn or aws-us-gov.")
    if smoke and role is not None:
        raise click.UsageError("--smoke and --role exclude each other.")
    make = smoke_policy if smoke else deployer_policy
    if role is not None:
        make = partial(operator_policy, Role(role))
    policy = make(check_name(stack), Place(partition, account, region, ""))
    click.echo(policy if compact else json.dumps(json.loads(policy), indent=2))
