"""Policy cases: the variables that a connection binds, and what becomes of their values."""

from collections.abc import Iterator

from keyborn.domain.thing import ThingKind
from support.policy_case import (
    ATTACHED,
    CERTIFICATE,
    CLIENT,
    COMMON_NAME,
    CONNECT,
    OWN_ID,
    PUBLISH,
    RECEIVE,
    RETAIN,
    SERVICE,
    STRANGER,
    SUBSCRIBE,
    THING,
    Case,
    Group,
    Who,
    allow,
    attribute,
    deny,
    document,
    may,
    may_not,
    section,
    sensor,
)
from support.policy_certificate import RICH, SERIAL

OWN = document(
    allow(CONNECT, f"client/{THING}"),
    allow([PUBLISH, RECEIVE, RETAIN], f"topic/dt/{THING}/*"),
    allow(SUBSCRIBE, f"topicfilter/dt/{THING}/*"),
)
"""To each thing its own."""
SITE = document(allow(PUBLISH, f"topic/{attribute('site')}/data"))
PUBLISH_AS = document(allow(PUBLISH, f"topic/dt/{CLIENT}"))
ISSUER = "${iot:Certificate.Issuer.CommonName}"
ORGANIZATION = "${iot:Certificate.Subject.Organization}"

# fmt: off
# A table reads best in rows.


def _thing() -> Iterator[Case]:
    yield may("own client id", "ThingName is the name of the thing that the certificate is attached to.", OWN,
              CONNECT, "sensor-1", wire=True)
    yield may("own topic", "ThingName may stand within a topic.", OWN, PUBLISH, "dt/sensor-1/temp", wire=True)
    yield may_not("a neighbor's topic", "ThingName is this thing's name and nobody else's.", OWN, PUBLISH,
                  "dt/sensor-2/temp", wire=True)
    yield may("own filter", "ThingName may stand within a filter.", OWN, SUBSCRIBE, "dt/sensor-1/#",
              wire=True)
    yield may_not("every thing's filter", "A plus in the filter is no name.", OWN, SUBSCRIBE, "dt/+/temp",
                  wire=True)
    yield may("own messages", "Receive on one's own topics brings one's own messages.", OWN, RECEIVE,
              "dt/sensor-1/cmd", wire=True)
    yield may_not("a neighbor's messages", "Receive on one's own topics brings no one else's.", OWN, RECEIVE,
                  "dt/sensor-2/cmd", wire=True)
    yield may("own retained message", "The variable holds for each action of the statement.", OWN, RETAIN,
              "dt/sensor-1/state", wire=True)
    yield may_not("a longer name than one's own",
                  "The name is followed by a slash: sensor-10 is not sensor-1.", OWN, PUBLISH,
                  "dt/sensor-10/temp", wire=True)
    yield may("another thing, the same policy", "One policy serves every thing.", OWN, PUBLISH,
              "dt/pump:7_a/x", Who("pump:7_a"), wire=True)
    rule = "Thing variables resolve only where the client id is the thing's name"
    yield may_not("another client id cannot connect", f"{rule}; else client/${{ThingName}} matches nothing.",
                  OWN, CONNECT, "something-else", STRANGER, wire=True)
    yield may_not("another client id has no own topic", f"{rule}, for topics too.", OWN, PUBLISH,
                  "dt/sensor-1/temp", STRANGER, wire=True)
    yield may_not("another client id has no topic under its id",
                  f"{rule}: the client id does not take its place.", OWN, PUBLISH, "dt/something-else/temp",
                  STRANGER, wire=True)
    yield may_not("a client id in another case", f"{rule}, byte for byte.", OWN, PUBLISH, "dt/sensor-1/temp",
                  sensor("SENSOR-1"), wire=True)
    service = "A service has no thing: thing variables do not resolve for it"
    yield may_not("a service cannot connect as a thing", f"{service}.", OWN, CONNECT, "collector", SERVICE,
                  wire=True)
    yield may_not("a service has no thing's topics", f"{service}, though its client id is its name.", OWN,
                  PUBLISH, "dt/collector/x", SERVICE, wire=True)
    yield may_not("a service's attribute", f"{service}; its attributes neither.", SITE, PUBLISH,
                  "berlin/data", Who("collector", ThingKind.SERVICE, (("site", "berlin"),)))
    unresolved = "What does not resolve makes its pattern match nothing"
    yield may_not("not even its own letters", f"{unresolved}, not even the variable's own letters.", OWN,
                  PUBLISH, f"dt/{THING}/temp", STRANGER)
    yield may_not("not the empty text", f"{unresolved}: it is not the empty text.",
                  document(allow(PUBLISH, f"topic/dt/{THING}x")), PUBLISH, "dt/x", STRANGER, wire=True)
    yield may_not("not any text", f"{unresolved}: it is no wildcard, though asterisks stand beside it.",
                  document(allow(PUBLISH, f"topic/*{THING}*")), PUBLISH, "dt/sensor-1", STRANGER, wire=True)
    yield may("a deny that does not resolve", f"{unresolved}, in a Deny too; lint warns of it.",
              document(allow(PUBLISH, "topic/*"), deny(PUBLISH, f"topic/{THING}")), PUBLISH, "sensor-1",
              STRANGER, wire=True)
    yield may_not("a deny that resolves", "In a Deny a variable works as in an Allow.",
                  document(allow(PUBLISH, "topic/*"), deny(PUBLISH, f"topic/{THING}")), PUBLISH, "sensor-1",
                  wire=True)
    yield may("one of two resources resolves",
              "A resource that does not resolve leaves the others of its list.",
              document(allow(PUBLISH, f"topic/dt/{THING}", "topic/dt/shared")), PUBLISH, "dt/shared",
              STRANGER, wire=True)
    yield may("an attribute", "Attributes[site] is the thing's attribute of that name.", SITE, PUBLISH,
              "berlin/data", sensor(site="berlin"), wire=True)
    yield may_not("another value of the attribute",
                  "An attribute's value is the record's, not the client's choice.", SITE, PUBLISH,
                  "paris/data", sensor(site="berlin"), wire=True)
    yield may_not("a missing attribute", "An attribute that the thing does not have does not resolve.", SITE,
                  PUBLISH, "/data", wire=True)
    yield may_not("an attribute in another case", "Attribute names differ by case.", SITE, PUBLISH,
                  "berlin/data", sensor(Site="berlin"))
    yield may_not("an attribute under another client id", f"{rule}, attributes among them.", SITE, PUBLISH,
                  "berlin/data", sensor("other", site="berlin"), wire=True)
    yield may_not("no thing type", "Keyborn's records have no type: ThingTypeName does not resolve.",
                  document(allow(PUBLISH, "topic/${iot:Connection.Thing.ThingTypeName}/*")), PUBLISH,
                  "device/x", wire=True)
    both = document(allow(PUBLISH, f"topic/{attribute('site')}/{THING}/{attribute('line')}"))
    yield may("three variables", "A resource may hold several variables.", both, PUBLISH, "berlin/sensor-1/7",
              sensor(site="berlin", line="7"), wire=True)
    yield may_not("two of three variables", "All variables of a resource must resolve.", both, PUBLISH,
                  "berlin/sensor-1/", sensor(site="berlin"), wire=True)
    yield may_not("variables do not swap", "Each variable stands in its own place.", both, PUBLISH,
                  "7/sensor-1/berlin", sensor(site="berlin", line="7"))
    inside = document(allow(PUBLISH, f"topic/x-{THING}-y"))
    yield may("a variable within a level", "A variable may stand within text.", inside, PUBLISH,
              "x-sensor-1-y", wire=True)
    yield may_not("text around a variable", "The text around a variable must be there.", inside, PUBLISH,
                  "x-sensor-1", wire=True)
    yield may("a variable among wildcards", "A variable may stand among wildcards.",
              document(allow(PUBLISH, f"topic/*/{THING}/?")), PUBLISH, "a/b/sensor-1/x", wire=True)


def _values() -> Iterator[Case]:
    words = {"*": "an asterisk", "$": "a dollar", "+": "a plus", "?": "a question mark", "#": "a hash"}
    for character, word in words.items():
        value = f"b{character}n"
        rule = f"A value that holds {word} is not substituted"
        yield may_not(f"a value with {word}, as text", f"{rule}, not even to match itself.", SITE, PUBLISH,
                      f"{value}/data", sensor(site=value), wire=character in "*$?")
        yield may_not(f"a value with {word}, as a pattern", f"{rule}, and is no pattern.", SITE, PUBLISH,
                      "bxn/data", sensor(site=value), wire=True)
        yield may_not(f"a value that is {word}", f"{rule}, whatever stands around it.", SITE, PUBLISH,
                      "x/data", sensor(site=character), wire=True)
    yield may("a deny over such a value",
              "A value with a wildcard is not substituted in a Deny either: the Deny matches nothing.",
              document(allow(PUBLISH, "topic/*"), deny(PUBLISH, f"topic/{attribute('site')}")), PUBLISH,
              "berlin", sensor(site="*"), wire=True)
    for name, value, other in (
        ("a dot", "a.c", "abc"), ("brackets", "[ab]", "a"), ("a bar", "a|b", "a"),
        ("a backslash", "a\\d", "a1"), ("braces", "a{2}", "aa"),
    ):
        rule = "A value is text, whatever it would mean elsewhere"
        yield may(f"a value with {name} is itself", f"{rule}.", SITE, PUBLISH, f"{value}/data",
                  sensor(site=value), wire=True)
        yield may_not(f"a value with {name} is nothing else", f"{rule}: it matches itself alone.", SITE,
                      PUBLISH, f"{other}/data", sensor(site=value))
    yield may("a value with slashes", "A value may hold slashes; they are part of the topic.", SITE, PUBLISH,
              "eu/berlin/data", sensor(site="eu/berlin"), wire=True)
    yield may("a value of another script", "A value may hold any letters.", SITE, PUBLISH, "東京/data",
              sensor(site="東京"), wire=True)
    yield may("an empty value", "An attribute that is there and empty is the empty text.", SITE, PUBLISH,
              "/data", sensor(site=""), wire=True)
    yield may("a value with a space", "A value may hold spaces.", SITE, PUBLISH, "hall 3/data",
              sensor(site="hall 3"), wire=True)
    yield may_not("a value that looks like a variable",
                  "A value is not read again for variables: it holds a dollar.", SITE, PUBLISH,
                  "sensor-1/data", sensor(site=THING), wire=True)
    yield may_not("a value that completes a variable",
                  "A dollar before a variable and braces in its value make no variable.",
                  document(allow(PUBLISH, f"topic/${attribute('site')}")), PUBLISH, "sensor-1",
                  sensor(site="{iot:ClientId}"))
    yield may("a value that completes a variable is text", "After substitution nothing is read again.",
              document(allow(PUBLISH, f"topic/${attribute('site')}")), PUBLISH, "${iot:ClientId}",
              sensor(site="{iot:ClientId}"))
    longest, too_long = "a" * 1024, "a" * 1025
    yield may("a value of 1024 characters", "A value may have 1024 characters.", SITE, PUBLISH,
              f"{longest}/data", sensor(site=longest))
    yield may_not("a value of 1025 characters", "A value of more than 1024 characters is not substituted.",
                  SITE, PUBLISH, f"{too_long}/data", sensor(site=too_long))
    yield may_not("only the variable that holds a wildcard",
                  "One value that is not substituted spoils its resource.",
                  document(allow(PUBLISH, f"topic/{THING}/{attribute('site')}")), PUBLISH, "sensor-1/b",
                  sensor(site="*"), wire=True)


def _client_id() -> Iterator[Case]:
    any_id = document(allow(CONNECT, f"client/{CLIENT}"))
    yield may("ClientId on connect", "client/${iot:ClientId} is as wide as client/*.", any_id, CONNECT,
              "something-else", STRANGER, wire=True)
    yield may("ClientId for a service", "ClientId resolves for a service too.", any_id, CONNECT, "collector",
              SERVICE, wire=True)
    bound = document(allow(CONNECT, f"client/{CLIENT}", when=ATTACHED))
    yield may("ClientId, attached", "With IsAttached, ClientId is the thing's name.", bound, CONNECT,
              "sensor-1", wire=True)
    yield may_not("ClientId, not attached", "With IsAttached, another client id is refused.", bound, CONNECT,
                  "something-else", STRANGER, wire=True)
    yield may("ClientId in a topic", "ClientId always resolves, whoever it is.", PUBLISH_AS, PUBLISH,
              "dt/something-else", STRANGER, wire=True)
    yield may_not("ClientId is not the thing's name",
                  "ClientId is what the client said, not its record's name.", PUBLISH_AS, PUBLISH,
                  "dt/sensor-1", STRANGER, wire=True)
    yield may("ClientId of a service in a topic", "ClientId resolves where thing variables do not.",
              PUBLISH_AS, PUBLISH, "dt/collector", SERVICE, wire=True)
    for character in "*$+?#":
        who = sensor(f"a{character}b")
        yield may_not(f"a client id with {character}",
                      f"A client id that holds {character} is not substituted.", PUBLISH_AS, PUBLISH,
                      f"dt/a{character}b", who)
        yield may_not(f"a client id with {character} is no pattern",
                      f"A client id that holds {character} widens nothing.", PUBLISH_AS, PUBLISH, "dt/axb",
                      who, wire=True)
    yield may_not("connecting as a wildcard",
                  "Where the client id is *, client/${iot:ClientId} does not match it.", any_id, CONNECT, "*",
                  sensor("*"), wire=True)
    yield may("a client id with a star under a star",
              "A pattern's own asterisk takes an asterisk as any character.",
              document(allow(CONNECT, "client/*")), CONNECT, "*", sensor("*"), wire=True)
    yield may_not("connect asks for the id that connects",
                  "Who may connect as one id may not therefore as another.",
                  document(allow(CONNECT, "client/sensor-1")), CONNECT, "sensor-2", sensor("sensor-2"),
                  wire=True)
    yield may("a service by its name", "A service is allowed by plain text.",
              document(allow(CONNECT, "client/collector")), CONNECT, "collector", SERVICE, wire=True)


def _certificate() -> Iterator[Case]:
    by_id = document(allow(PUBLISH, f"topic/{CERTIFICATE}/x"))
    by_name = document(allow(PUBLISH, f"topic/{COMMON_NAME}/x"))
    yield may("the certificate's id", "CertificateId is the id of the certificate that was shown.", by_id,
              PUBLISH, f"{OWN_ID}/x", wire=True)
    yield may_not("another certificate's id", "CertificateId is no other certificate's.", by_id, PUBLISH,
                  f"{'0' * 64}/x", wire=True)
    yield may("the id of a service's certificate", "Certificate variables resolve for services.", by_id,
              PUBLISH, f"{OWN_ID}/x", SERVICE, wire=True)
    yield may("the id under another client id", "Certificate variables resolve whatever the client id is.",
              by_id, PUBLISH, f"{OWN_ID}/x", STRANGER, wire=True)
    yield may("the common name", "Subject.CommonName is what the certificate says.", by_name, PUBLISH,
              "sensor-1/x", wire=True)
    yield may_not("another common name", "Subject.CommonName is not what the client says.", by_name, PUBLISH,
                  "something-else/x", STRANGER, wire=True)
    generic = sensor(common_name="AWS IoT Certificate")
    yield may("a generic common name", "Subject.CommonName is the certificate's, not the record's name.",
              by_name, PUBLISH, "AWS IoT Certificate/x", generic, wire=True)
    yield may_not("the record's name for a generic common name",
                  "The record's name does not stand in for the common name.", by_name, PUBLISH, "sensor-1/x",
                  generic, wire=True)
    yield may("the common name of a service", "Certificate variables do not need a thing.", by_name, PUBLISH,
              "collector/x", SERVICE, wire=True)
    yield may_not("a common name with a star", "A common name that holds an asterisk is not substituted.",
                  by_name, PUBLISH, "axb/x", sensor(common_name="a*b"), wire=True)
    yield may_not("a common name with a hash, as text",
                  "A common name that holds a hash does not match itself.", by_name, PUBLISH, "a#b/x",
                  sensor(common_name="a#b"))
    yield may("a common name beyond ASCII", "A common name is text of any script.", by_name, PUBLISH,
              "größe/x", sensor(common_name="größe"), wire=True)
    yield may("the issuer's common name", "Issuer.CommonName is what the certificate says of its issuer.",
              document(allow(PUBLISH, f"topic/{ISSUER}/x")), PUBLISH, "test devices/x", wire=True)
    yield may_not("an attribute that the subject lacks",
                  "What the certificate does not hold does not resolve.",
                  document(allow(PUBLISH, f"topic/{ORGANIZATION}/x")), PUBLISH, "/x", wire=True)
    yield may("two kinds of variables", "Certificate and thing variables stand together.",
              document(allow(PUBLISH, f"topic/{THING}/{CERTIFICATE}")), PUBLISH, f"sensor-1/{OWN_ID}",
              wire=True)
    yield may_not("connecting under the common name", "client/${CommonName} is that id alone.",
                  document(allow(CONNECT, f"client/{COMMON_NAME}")), CONNECT, "something-else", STRANGER,
                  wire=True)


def _certificate_values() -> Iterator[Case]:
    rich = sensor(common_name=RICH)
    for word, value in (
        ("Subject.Country", "DE"), ("Subject.State", "Bremen"), ("Subject.Organization", "Example Corp"),
        ("Subject.SerialNumber", "SN-7"), ("Subject.AlternativeName.DNSName", "a.example"),
        ("Subject.AlternativeName.IPAddress", "192.0.2.7"),
        ("Subject.AlternativeName.UniformResourceIdentifier", "urn:lamp:7"),
        ("Subject.AlternativeName.RFC822Name", "lamp@example.com"),
        ("Subject.AlternativeName.DirectoryName", "cn=dir,ou=lamps,o=Example Corp,c=DE"),
    ):
        policy = document(allow(PUBLISH, f"topic/${{iot:Certificate.{word}}}/x"))
        yield may(f"the certificate's {word}", f"{word} is what the certificate says there.", policy, PUBLISH,
                  f"{value}/x", rich, wire=True)
        yield may_not(f"a certificate without {word}",
                      f"Without {word} in the certificate, its variable does not resolve.", policy, PUBLISH,
                      f"{value}/x", wire=True)
    serial = document(allow(CONNECT, "client/${iot:Certificate.SerialNumber}"))
    hexadecimal = SERIAL.to_bytes(8, "big").hex(":")
    yield may("the serial number", "A certificate's serial number is written in decimal.", serial, CONNECT,
              str(SERIAL), sensor(str(SERIAL), common_name=RICH), wire=True)
    yield may_not("the serial number in hexadecimal",
                  "A certificate's serial number is not written in hexadecimal.", serial, CONNECT,
                  hexadecimal, sensor(hexadecimal, common_name=RICH), wire=True)
    unit = "iot:Certificate.Subject.OrganizationalUnit"
    for suffix, topic, verdict, rule in (
        ("", "lamps", may, "Of several values, a variable without an index is the first."),
        ("", "bulbs", may_not, "Of several values, a variable without an index is only the first."),
        (".1", "bulbs", may, "Index 1 is the second value."),
        (".1", "lamps", may_not, "Index 1 is not the first value."),
        (".2", "lamps", may_not, "An index beyond the last value does not resolve."),
    ):
        policy = document(allow(PUBLISH, f"topic/${{{unit}{suffix}}}"))
        yield verdict(f"organizational unit{suffix}, {topic}", rule, policy, PUBLISH, topic, rich, wire=True)
    for name, operator, wanted, verdict in (
        ("for all of both units", "ForAllValues:StringEquals", ["lamps", "bulbs"], may),
        ("for all of one unit", "ForAllValues:StringEquals", ["lamps", "pumps"], may_not),
        ("for any of one unit", "ForAnyValue:StringEquals", ["bulbs", "pumps"], may),
        ("for any of no unit", "ForAnyValue:StringEquals", ["pumps"], may_not),
    ):
        policy = document(allow(PUBLISH, "topic/a", when={operator: {f"{unit}.List": wanted}}))
        rule = ".List is every value, for ForAllValues and ForAnyValue."
        yield verdict(name, rule, policy, PUBLISH, "a", rich, wire=True)


def _escapes() -> Iterator[Case]:
    star, mark, dollar = (document(allow(PUBLISH, f"topic/a/${{{each}}}/c")) for each in "*?$")
    yield may("an escaped star", "${*} is an asterisk.", star, PUBLISH, "a/*/c", wire=True)
    yield may_not("an escaped star is no wildcard", "${*} is an asterisk and nothing else.", star, PUBLISH,
                  "a/b/c", wire=True)
    yield may("an escaped question mark", "${?} is a question mark.", mark, PUBLISH, "a/?/c", wire=True)
    yield may_not("an escaped question mark is no wildcard", "${?} is a question mark and nothing else.",
                  mark, PUBLISH, "a/b/c", wire=True)
    yield may("an escaped dollar", "${$} is a dollar.", dollar, PUBLISH, "a/$/c", wire=True)
    yield may_not("an escaped dollar is no other", "${$} is a dollar and nothing else.", dollar, PUBLISH,
                  "a//c", wire=True)
    written = document(allow(PUBLISH, "topic/${$}{iot:ClientId}"))
    yield may("a variable's letters, written out", "${$}{x} is the text ${x}, not a variable.", written,
              PUBLISH, "${iot:ClientId}")
    yield may_not("a variable's letters are no variable", "${$}{x} does not become a variable.", written,
                  PUBLISH, "sensor-1", wire=True)
    yield may("an escape beside a wildcard", "Escapes and wildcards stand together.",
              document(allow(PUBLISH, "topic/*${*}*")), PUBLISH, "a*b", wire=True)
    yield may_not("an escape beside a wildcard needs its star",
                  "Beside wildcards, ${*} still needs an asterisk.", document(allow(PUBLISH, "topic/*${*}*")),
                  PUBLISH, "ab", wire=True)
    yield may("a star as a client id", "Only ${*} allows the client id * and no other.",
              document(allow(CONNECT, "client/${*}")), CONNECT, "*", sensor("*"), wire=True)


# fmt: on


def rows() -> tuple[Case, ...]:
    """Every case of this file."""
    return (
        *section(Group.THING, *_thing()),
        *section(Group.VALUES, *_values()),
        *section(Group.CLIENT_ID, *_client_id()),
        *section(Group.CERTIFICATE, *_certificate(), *_certificate_values()),
        *section(Group.ESCAPES, *_escapes()),
    )
