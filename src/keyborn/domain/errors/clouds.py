"""Leaves: an operator's commands that work on AWS with the operator's own credentials."""

from keyborn.domain.errors.tree import OperatorError, Unavailable


# ── the way there ──
class AwsPartsMissing(OperatorError):
    """The command needs a package that only the AWS extra brings."""

    code = "aws_parts_missing"
    sentence = "{package} is not here, and it is what talks to AWS. Install it: pip install 'keyborn[aws]'"


class AwsCredentialsMissing(OperatorError):
    """Nobody said who is calling."""

    code = "aws_credentials_missing"
    sentence = (
        "There are no credentials for AWS. Sign in (aws sso login, aws configure), name a profile with "
        "--profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


class AwsCredentialsRefused(OperatorError):
    """AWS does not know who is calling, or knows it no longer."""

    code = "aws_credentials_refused"
    sentence = (
        "The credentials for AWS do not hold ({detail}). They may have ended: sign in again, or choose "
        "others with --profile."
    )


class AwsProfileMissing(OperatorError):
    """``--profile`` or AWS_PROFILE names none that is configured."""

    code = "aws_profile_missing"
    sentence = "There is no such AWS profile: {detail}. List them with: aws configure list-profiles"


class AwsRegionMissing(OperatorError):
    """Nobody said which region."""

    code = "aws_region_missing"
    sentence = "Which AWS region? Say it with --region, for example --region eu-central-1, or set AWS_REGION."


class AwsDenied(OperatorError):
    """The operator's credentials do not permit an action."""

    code = "aws_denied"
    sentence = (
        "AWS does not permit {action} with these credentials. Ask who manages the account for it (keyborn "
        "aws permissions prints all that is needed), or use others with --profile."
    )


class AwsUnreachable(OperatorError):
    """No answer from AWS, or only that it cannot now."""

    code = "aws_unreachable"
    sentence = (
        "AWS does not answer for {service} ({detail}). Check the network and the region, and try again: the "
        "command can be repeated."
    )


class AwsCallFailed(OperatorError):
    """AWS refused for a reason that has no leaf of its own."""

    code = "aws_call_failed"
    sentence = "AWS refused {action}. It says: {detail}."


# ── the stack ──
class StackMissing(OperatorError):
    """There is no stack of that name in the region."""

    code = "stack_missing"
    sentence = (
        "There is no stack called {stack} in {region}. Make it with: keyborn aws deploy --stack {stack}; "
        "or look elsewhere with --region."
    )


class StackUnfinished(OperatorError):
    """The stack is being made or taken away, or one of these failed."""

    code = "stack_unfinished"
    sentence = (
        "The stack {stack} is not in order (CloudFormation says {status}). Wait until it is done, or bring "
        "it to an end with keyborn aws deploy or keyborn aws destroy."
    )


class StackForeign(OperatorError):
    """The stack is not one of Keyborn's template, or of another version of it."""

    code = "stack_foreign"
    sentence = (
        "The stack {stack} does not look like one of Keyborn's: its output {output} is missing or wrong. "
        "Check the name; one that an older Keyborn made is brought up to date with: "
        "keyborn aws deploy --stack {stack}"
    )


# ── an order that is only half done ──
class SessionLeftOpen(Unavailable):
    """The thing is barred, in the registry and in AWS IoT; the session it may have open was not closed."""

    code = "session_left_open"
    sentence = (
        "{thing} cannot connect again: AWS IoT has switched its certificate off. But the session that it may "
        "have open could not be closed (iot:DeleteConnection: {reason}). AWS IoT closes it by itself within "
        "minutes, and the sweeper tries once more; to try now, repeat the command."
    )
