"""Checks of things, and of what binds a certificate to one."""

import time

from keyborn.adapters.aws.smoke.certificates import GONE
from keyborn.adapters.aws.smoke.check import Check, Differs, Holds, Verdict, check, holds_if
from keyborn.adapters.aws.smoke.lab import Lab, Refused, Specimen

_EXCLUSIVE = {"thingPrincipalType": "EXCLUSIVE_THING"}


def _pair(lab: Lab) -> tuple[str, Specimen]:
    """A thing and the certificate that is exclusively its own."""

    def _make() -> tuple[str, Specimen]:
        thing, certificate = lab.thing("owner"), lab.certificate("owner")
        lab.ask("iot", "AttachThingPrincipal", thingName=thing, principal=certificate.arn, **_EXCLUSIVE)
        return thing, certificate

    return lab.shared("pair", _make)


@check(
    "thing-repeat",
    "CreateThing repeated with the same attributes succeeds.",
    relied="adapters.aws.iot.create_thing",
    means="An enrolment that was interrupted is refused when it comes again: its name seems to be taken.",
)
def _thing_repeat(lab: Lab) -> Verdict:
    name = lab.thing("twice", attributePayload={"attributes": {"site": "a"}})
    refused = lab.refusal(
        "iot", "CreateThing", thingName=name, attributePayload={"attributes": {"site": "a"}}
    )
    return holds_if(refused is None, refused.short if refused else "accepted")


@check(
    "thing-differs",
    "CreateThing with other attributes is refused with ResourceAlreadyExistsException.",
    relied="adapters.aws.authority (takes that code for: it is somebody else's)",
    means="A device can enroll as a thing of another system, or that thing is overwritten.",
)
def _thing_differs(lab: Lab) -> Verdict:
    name = lab.thing("other", attributePayload={"attributes": {"site": "a"}})
    refused = lab.refusal(
        "iot", "CreateThing", thingName=name, attributePayload={"attributes": {"site": "b"}}
    )
    seen = refused.short if refused else "accepted"
    return holds_if(refused and refused.code == "ResourceAlreadyExistsException", seen)


@check(
    "thing-type-differs",
    "CreateThing with a type, where the thing has none, is refused with ResourceAlreadyExistsException.",
    relied="adapters.aws.authority (a thing without the stack's type is not the stack's)",
    means="A device can enroll as a thing of another system.",
)
def _thing_type_differs(lab: Lab) -> Verdict:
    name = lab.thing("untyped")
    refused = lab.refusal("iot", "CreateThing", thingName=name, thingTypeName=lab.outputs.thing_type)
    seen = refused.short if refused else "accepted"
    return holds_if(refused and refused.code == "ResourceAlreadyExistsException", seen)


@check(
    "thing-attributes",
    "A thing takes three attributes without a type, and fifty with the stack's.",
    relied="domain.attributes (how many a device may send), the template's thing type",
    means="Devices with many attributes are refused by AWS after Keyborn has let them in.",
)
def _thing_attributes(lab: Lab) -> Verdict:
    def _many(count: int) -> dict[str, object]:
        return {"attributePayload": {"attributes": {f"a{number}": "x" for number in range(count)}}}

    lab.thing("fifty", thingTypeName=lab.outputs.thing_type, **_many(50))
    try:
        lab.thing("four", **_many(4))
    except Refused as refused:
        return Holds(f"fifty with the type; four without: {refused.short}")
    means = "Nothing breaks: AWS takes more than we thought."
    return Differs("fifty with the type, and four without", means, remedy="Nothing.")


@check(
    "thing-update",
    "UpdateThing merges attributes, takes one away by an empty value, and knows names with a dot.",
    relied="adapters.aws.iot.describe_thing (what an operator has set, the sweeper tells)",
    means="Things in AWS IoT keep the group and the attributes that they were made with.",
)
def _thing_update(lab: Lab) -> Verdict:
    first = {"keyborn.group": "a", "site": "a", "rack": "9"}
    name = lab.thing("update", thingTypeName=lab.outputs.thing_type, attributePayload={"attributes": first})
    payload = {"attributes": {"keyborn.group": "b", "site": ""}, "merge": True}
    version = lab.ask("iot", "DescribeThing", thingName=name)["version"]
    lab.ask("iot", "UpdateThing", thingName=name, attributePayload=payload, expectedVersion=version)
    now = lab.ask("iot", "DescribeThing", thingName=name)["attributes"]
    return holds_if(now == {"keyborn.group": "b", "rack": "9"}, ", ".join(sorted(now)) or "no attribute")


@check(
    "thing-update-version",
    "UpdateThing with another version than the thing's is refused.",
    relied="adapters.aws.iot.describe_thing (a thing that changed meanwhile is looked at again)",
    means="A thing that somebody else makes at that moment may get attributes of Keyborn's.",
)
def _thing_update_version(lab: Lab) -> Verdict:
    name = lab.thing("outdated")
    payload = {"attributes": {"site": "a"}, "merge": True}
    refused = lab.refusal("iot", "UpdateThing", thingName=name, attributePayload=payload, expectedVersion=99)
    return holds_if(refused, refused.short if refused else "it was updated")


@check(
    "attach-thing-repeat",
    "AttachThingPrincipal repeated succeeds.",
    relied="adapters.aws.iot.attach_thing (an interrupted enrolment does it again)",
    means="An enrolment that was interrupted cannot be taken up again.",
)
def _attach_thing_repeat(lab: Lab) -> Verdict:
    thing, one = _pair(lab)
    refused = lab.refusal("iot", "AttachThingPrincipal", thingName=thing, principal=one.arn, **_EXCLUSIVE)
    return holds_if(refused is None, refused.short if refused else "accepted")


@check(
    "exclusive-thing",
    "A certificate that is exclusively one thing's cannot be bound to another thing.",
    relied="adapters.aws.iot.attach_thing, docs/threats.md (one certificate, one thing)",
    means="Who may call AttachThingPrincipal can give a device the rights of another one's name.",
    remedy="Give iot:AttachThingPrincipal to nobody but the enrolment function.",
)
def _exclusive_thing(lab: Lab) -> Verdict:
    _, one = _pair(lab)
    second = lab.thing("second")
    first = lab.refusal("iot", "AttachThingPrincipal", thingName=second, principal=one.arn, **_EXCLUSIVE)
    plain = lab.refusal("iot", "AttachThingPrincipal", thingName=second, principal=one.arn)
    words = [one.short if one else "accepted" for one in (first, plain)]
    seen = f"exclusively: {words[0]}; plainly: {words[1]}"
    return holds_if(first and plain, seen)


@check(
    "delete-attached",
    "A certificate that a thing or a policy holds cannot be deleted; nor a thing that holds a certificate.",
    relied="adapters.aws.iot.clear_away (detaches first), adapters.aws.iot.delete_thing",
    means="Nothing breaks: Keyborn detaches before it deletes.",
)
def _delete_attached(lab: Lab) -> Verdict:
    thing, one = lab.thing("held"), lab.certificate("held")
    lab.ask("iot", "AttachThingPrincipal", thingName=thing, principal=one.arn)
    refusals = [
        lab.refusal("iot", "DeleteCertificate", certificateId=one.id),
        lab.refusal("iot", "DeleteThing", thingName=thing),
    ]
    seen = "; ".join(each.short if each else "accepted" for each in refusals)
    return holds_if(all(refusals), f"certificate: {seen.replace('; ', '; thing: ')}")


@check(
    "detach-thing-repeat",
    "DetachThingPrincipal repeated succeeds, or is refused with ResourceNotFoundException.",
    relied="adapters.aws.iot.detach_thing",
    means="The sweeper cannot finish what it was interrupted at.",
)
def _detach_thing_repeat(lab: Lab) -> Verdict:
    thing, one = lab.thing("detached"), lab.certificate("detached")
    lab.ask("iot", "AttachThingPrincipal", thingName=thing, principal=one.arn)
    lab.ask("iot", "DetachThingPrincipal", thingName=thing, principal=one.arn)
    refused = lab.refusal("iot", "DetachThingPrincipal", thingName=thing, principal=one.arn)
    return holds_if(refused is None or refused.code == GONE, refused.short if refused else "accepted")


@check(
    "delete-thing-late",
    "A thing can be deleted within a minute after its certificate was detached; before, it is refused.",
    relied="adapters.aws.settle (the sweeper comes again a minute later), adapters.aws.stack.clearing",
    means="The sweeper needs more rounds, and destroying a stack may need to be repeated.",
)
def _delete_thing_late(lab: Lab) -> Verdict:
    thing, one = lab.thing("late"), lab.certificate("late")
    lab.ask("iot", "AttachThingPrincipal", thingName=thing, principal=one.arn)
    lab.ask("iot", "DetachThingPrincipal", thingName=thing, principal=one.arn)
    begun = time.monotonic()
    refusals: set[str] = set()

    def _is_gone() -> bool:
        refused = lab.refusal("iot", "DeleteThing", thingName=thing)
        refusals.update({refused.short} if refused else ())
        return refused is None

    gone = lab.wait(_is_gone, min(60.0, lab.pace.later), 0.5)
    after = f"after {time.monotonic() - begun:.1f} s"
    before = f", until then {', '.join(sorted(refusals))}" if refusals else ", at once"
    return holds_if(gone, f"{'deleted' if gone else 'not deleted'} {after}{before}")


@check(
    "delete-thing-missing",
    "DeleteThing of a thing that is not there succeeds.",
    relied="adapters.aws.stack.clearing (repeats what it may have done)",
    means="Destroying a stack fails where it was interrupted.",
)
def _delete_thing_missing(lab: Lab) -> Verdict:
    refused = lab.refusal("iot", "DeleteThing", thingName=lab.name("nobody"))
    return holds_if(refused is None, refused.short if refused else "accepted")


@check(
    "delete-thing-version",
    "DeleteThing with another version than the thing's is refused.",
    relied="adapters.aws.iot.delete_thing (a thing that changed meanwhile is not deleted)",
    means="The sweeper may delete a thing that somebody has begun to use at that moment.",
)
def _delete_thing_version(lab: Lab) -> Verdict:
    thing = lab.thing("version")
    refused = lab.refusal("iot", "DeleteThing", thingName=thing, expectedVersion=99)
    return holds_if(refused, refused.short if refused else "it was deleted")


CHECKS: tuple[Check, ...] = (
    _thing_repeat,
    _thing_differs,
    _thing_type_differs,
    _thing_attributes,
    _thing_update,
    _thing_update_version,
    _attach_thing_repeat,
    _exclusive_thing,
    _delete_attached,
    _detach_thing_repeat,
    _delete_thing_late,
    _delete_thing_missing,
    _delete_thing_version,
)
