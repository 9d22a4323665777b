"""Leaves: making a stack on AWS, changing it, and taking it away."""

from keyborn.domain.errors.tree import OperatorError


class AwsAccountDiffers(OperatorError):
    """The credentials are of another account than the one that was named."""

    code = "aws_account_differs"
    sentence = (
        "These credentials are of account {account}, and --account says {wanted}. Nothing was changed. "
        "Choose others with --profile or AWS_PROFILE."
    )


class StackFailed(OperatorError):
    """CloudFormation could not do it."""

    code = "stack_failed"
    sentence = (
        "The stack {stack} failed at {resource}: {reason}. It is in state {state}. Correct the cause, then "
        "repeat the command."
    )


class StackNotReady(OperatorError):
    """The stack is in a state from which only a person gets it out."""

    code = "stack_not_ready"
    sentence = "The stack {stack} is in state {state}, in which it cannot be changed. {remedy}"


class StackSlow(OperatorError):
    """CloudFormation has not come to an end in the time that we wait."""

    code = "stack_slow"
    sentence = (
        "CloudFormation has been at work on {stack} for {minutes} minutes and goes on by itself. Repeat the "
        "command to see how it ends."
    )


class CodeBucketTaken(OperatorError):
    """The bucket's name is somebody else's, or its owner does not let us in, or it is not one of ours."""

    code = "code_bucket_taken"
    sentence = (
        "The bucket {bucket} cannot be used: it belongs to another account, or these credentials may not "
        "look at it, or it holds what is not Keyborn's (no tag keyborn:bucket). Nothing was changed."
    )


class CodeDiffers(OperatorError):
    """A function runs other code than was sent to it."""

    code = "code_differs"
    sentence = (
        "{functions} runs code that is not the one deployed: Lambda says SHA-256 {found}, and it was "
        "{wanted}. Somebody may have changed the bucket {bucket}, or the function itself. Both functions are "
        "stopped. Find out who, then repeat the command: it sends the code anew and starts them again."
    )


class ThingNotCleared(OperatorError):
    """A thing of the stack's type holds a certificate that is not the stack's."""

    code = "thing_not_cleared"
    sentence = (
        "Not everything of {stack} could be removed from AWS IoT: {what} ({reason}). The stack is still "
        "there. Correct that, then repeat the command."
    )
