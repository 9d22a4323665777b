"""Which names are known, and what they say of a connection."""

import pytest

from keyborn.domain.access import ConnectAttribute
from keyborn.domain.access_policy.variables import (
    CERTIFICATE_ID,
    CLIENT_ID,
    CONNECT_ATTRIBUTES,
    IS_ATTACHED,
    SPECIAL,
    THING_NAME,
    THING_TYPE,
    Scope,
    Unresolved,
    check_key,
    check_variable,
    is_list,
)
from keyborn.domain.thing import ThingKind
from support.policy_stage import ID, badge, connected

NOT_THE_NAME = Unresolved("the client id is not the thing name")
NO_THING = Unresolved("a service has no thing")


def room(name: str = "room") -> str:
    return f"iot:Connection.Thing.Attributes[{name}]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (CLIENT_ID, "lamp"),
        (CERTIFICATE_ID, ID),
        (THING_NAME, "lamp"),
        (THING_TYPE, Unresolved("things have no type here")),
        (room(), "kitchen"),
        (room("floor"), Unresolved("no such attribute")),
        (room("Room"), Unresolved("no such attribute")),
        (room("empty"), ""),
        ("iot:Certificate.Subject.CommonName", Unresolved("the certificate has no such value")),
    ],
)
def test_a_device_under_its_own_name(name: str, value: object) -> None:
    scope = Scope(badge(attributes={"room": "kitchen", "empty": ""}), connected())
    assert scope.attached
    assert scope.resolve(name) == value


@pytest.mark.parametrize("client_id", ["", "Lamp", "lamp ", "lamp-2", "lam", "lamp\n"])
@pytest.mark.parametrize("name", [THING_NAME, THING_TYPE, room()])
def test_under_another_client_id_nothing_of_the_thing_resolves(name: str, client_id: str) -> None:
    scope = Scope(badge(attributes={"room": "kitchen"}), connected(client_id))
    assert not scope.attached
    assert scope.resolve(name) == NOT_THE_NAME
    assert scope.resolve(CERTIFICATE_ID) == ID
    assert scope.resolve(CLIENT_ID) == client_id


@pytest.mark.parametrize("name", [THING_NAME, THING_TYPE, room()])
def test_a_service_has_no_thing_though_its_client_id_is_its_name(name: str) -> None:
    scope = Scope(badge(name="watch", kind=ThingKind.SERVICE, attributes={"room": "x"}), connected("watch"))
    assert scope.resolve(name) == NO_THING
    assert scope.look_up(IS_ATTACHED) == ("false",)
    assert scope.resolve(CLIENT_ID) == "watch"


@pytest.mark.parametrize(("client_id", "value"), [("lamp", "true"), ("other", "false")])
def test_whether_it_is_attached_always_has_a_value(client_id: str, value: str) -> None:
    assert Scope(badge(), connected(client_id)).look_up(IS_ATTACHED) == (value,)


@pytest.mark.parametrize("special", SPECIAL)
def test_a_value_with_a_special_character_is_not_substituted_but_can_be_asked_for(special: str) -> None:
    value = f"a{special}b"
    scope = Scope(badge(attributes={"room": value}), connected())
    assert scope.resolve(room()) == Unresolved(f"its value holds {special}")
    assert scope.look_up(room()) == (value,)
    other = Scope(badge(), connected(value))
    assert other.resolve(CLIENT_ID) == Unresolved(f"its value holds {special}")


@pytest.mark.parametrize("value", ["a/b", "a b", "a.b[c](d)|^\\", "${", "ä\n"[:1], "a\nb", "{}"])
def test_other_characters_are_substituted(value: str) -> None:
    expected = Unresolved("its value holds $") if "$" in value else value
    assert Scope(badge(), connected(value)).resolve(CLIENT_ID) == expected


def test_a_value_longer_than_aws_takes_is_not_substituted() -> None:
    scope = Scope(badge(attributes={"room": "x" * 1025, "floor": "x" * 1024}), connected())
    assert scope.resolve(room()) == Unresolved("its value has more than 1024 characters")
    assert scope.resolve(room("floor")) == "x" * 1024


def test_the_connect_attributes_are_a_list_in_order() -> None:
    both = connected("lamp", ConnectAttribute.PERSISTENT, ConnectAttribute.WILL)
    assert Scope(badge(), both).look_up(CONNECT_ATTRIBUTES) == ("LastWill", "PersistentConnect")
    none = Scope(badge(), connected()).look_up(CONNECT_ATTRIBUTES)
    assert none == Unresolved("the client asks for no will and no persistent session")


KNOWN = [
    CLIENT_ID,
    CERTIFICATE_ID,
    THING_NAME,
    THING_TYPE,
    room(),
    room("x" * 128),
    room("a.b,c@d/e:f#g-h_0"),
    "iot:Certificate.SerialNumber",
    "iot:Certificate.Issuer.DistinguishedNameQualifier",
    "iot:Certificate.Subject.GenerationQualifier",
    "iot:Certificate.Subject.Country.0",
    "iot:Certificate.Subject.Country.4",
    "iot:Certificate.Subject.AlternativeName.DNSName.1",
]
LISTS = [
    CONNECT_ATTRIBUTES,
    "iot:Certificate.Subject.Country.List",
    "iot:Certificate.Issuer.AlternativeName.IPAddress.List",
]
UNKNOWN = [
    "",
    "iot:clientid",
    "ClientId",
    "iot:Connection.Thing",
    room(""),
    room("a b"),
    room("a]b"),
    room("a") + "x",
    room("a\n"),
    "aws:SourceIp",
    "iot:DomainName",
    "iot:Certificate.AvailableKeys",
    "iot:Certificate.SerialNumber.0",
    "iot:Certificate.Subject",
    "iot:Certificate.Subject.Country.5",
    "iot:Certificate.Subject.Country.01",
    "iot:Certificate.Subject.Country.0.0",
    "iot:Certificate.Subject.Country.0\n",
    "iot:Certificate.Subject.AlternativeName",
]


@pytest.mark.parametrize("name", KNOWN)
def test_known_names_are_keys_and_variables(name: str) -> None:
    check_key(name)
    check_variable(name)
    assert not is_list(name)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_a_key_and_no_variable(name: str) -> None:
    check_key(name)
    assert is_list(name)
    with pytest.raises(ValueError, match="is a list"):
        check_variable(name)


def test_being_attached_is_a_key_and_no_variable() -> None:
    check_key(IS_ATTACHED)
    with pytest.raises(ValueError, match="under Bool"):
        check_variable(IS_ATTACHED)


@pytest.mark.parametrize("name", UNKNOWN)
def test_unknown_names_are_refused(name: str) -> None:
    for check in (check_key, check_variable):
        with pytest.raises(ValueError, match=r"not known|attribute name"):
            check(name)
