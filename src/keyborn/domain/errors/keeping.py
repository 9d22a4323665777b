"""Leaves: what the registry says against an operator's order about policies, things and services."""

from keyborn.domain.errors.tree import Conflict, InputError, Unavailable


class PolicyInUse(Conflict):
    """A policy that somebody still has attached, or the default one, cannot be removed."""

    code = "policy_in_use"
    sentence = (
        "The policy {policy} cannot be removed: {detail}. A thing gives it up by: "
        "keyborn policy detach {policy} --thing NAME"
    )


class TooManyPolicies(Conflict):
    """AWS IoT attaches at most ten policies to a certificate."""

    code = "too_many_policies"
    sentence = "{thing} has {limit} policies already, and AWS IoT takes no more. Detach one first."


class CertificateNotHeld(Conflict):
    """An order named a certificate that its thing does not hold any more."""

    code = "certificate_not_held"
    sentence = (
        "That certificate is {status} and {thing} does not use it any more. "
        "To act on the thing itself, name it: {thing}"
    )


class KindMismatch(Conflict):
    """A device's name was given where a service is meant, or the other way round."""

    code = "kind_mismatch"
    sentence = "{name} is a {kind}, not a {wanted}. Choose another name, or see: keyborn {noun} list"


class SearchTooWide(InputError):
    """On AWS a search reads what lies between; it stops where that becomes too much."""

    code = "search_too_wide"
    sentence = (
        "Among {looked_at} things there were not enough of those you look for, and nothing leads to them "
        "faster. Say how their names begin, with --prefix."
    )


class BrokerUnwritable(Unavailable):
    """The broker's file takes no changes: the disk is full or fails. What was ordered holds until a crash."""

    code = "broker_unwritable"
    sentence = (
        "What was ordered is in force, but the broker cannot write its file now: what it has forgotten may "
        "be back after a crash. Free the disk, and repeat the same command in {seconds} s."
    )
