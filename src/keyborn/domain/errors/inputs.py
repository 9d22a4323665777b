"""Leaves: input that is wrong in itself."""

from keyborn.domain.errors.tree import InputError


class MalformedRequest(InputError):
    """The body is not the JSON object that the route takes."""

    code = "malformed_request"
    sentence = (
        "The request body is not what this route takes: {detail}. Send a JSON object with thingName and csr."
    )


class InvalidThingName(InputError):
    """Not 1-64 of ``A-Z a-z 0-9 : _ -``."""

    code = "invalid_thing_name"
    sentence = "The thing name is not usable: {detail}. Use 1 to 64 of A-Z a-z 0-9 : _ -"


class ReservedThingName(InputError):
    """Starts with ``keyborn``, or is a host name of the service."""

    code = "reserved_thing_name"
    sentence = "The thing name {name} is reserved for the service itself. Choose another name."


class InvalidGroupName(InputError):
    """Not 1-64 of ``a-z 0-9 . _ -`` with a letter or digit first."""

    code = "invalid_group_name"
    sentence = (
        "The group's name is not usable. Use 1 to 64 of a-z 0-9 . _ - and begin with a letter or a digit."
    )


class InvalidGroup(InputError):
    """A document that is no enrolment group, or holds an element that is not known here."""

    code = "invalid_group"
    sentence = "The group is not usable: {where}: {detail}."


class InvalidKeyHash(InputError):
    """Not 64 hexadecimal digits."""

    code = "invalid_key_hash"
    sentence = (
        "The key hash is not usable: it has 64 hexadecimal digits, the SHA-256 of the public key "
        "(keyborn key hash FILE)."
    )


class InvalidCode(InputError):
    """An enrolment code that does not decode."""

    code = "invalid_enrollment_code"
    sentence = "The enrolment code is not usable: {detail}. Copy the whole word that starts with `kb1.`"


class InvalidTopic(InputError):
    """A topic name or filter that MQTT or AWS IoT does not take."""

    code = "invalid_topic"
    sentence = "The topic is not usable: {detail}."


class InvalidSetting(InputError):
    """A setting, from a file, the environment or an option, that makes no sense."""

    code = "invalid_setting"
    sentence = "The setting {setting} is not usable: {detail}."


class InvalidPolicyName(InputError):
    """Not 1-128 of ``A-Z a-z 0-9 _ + = , . @ -``."""

    code = "invalid_policy_name"
    sentence = "The policy name is not usable. Use 1 to 128 of A-Z a-z 0-9 _ + = , . @ -"


class PolicyNameTooLong(InputError):
    """Together with the stack's prefix it has more than AWS IoT's 128 characters."""

    code = "policy_name_too_long"
    sentence = (
        "The policy name has {length} characters. AWS IoT takes 128, of which the stack's own part, "
        "{prefix}, takes some. Use at most {most}."
    )


class InvalidPolicy(InputError):
    """A document that is not an AWS IoT policy, or holds an element that is not known here."""

    code = "invalid_policy"
    sentence = "The policy is not usable: {where}: {detail}."
