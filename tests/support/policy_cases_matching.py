"""Policy cases: what matches, and what follows from what matches."""

from collections.abc import Iterator

from keyborn.domain.access import Action
from support.policy_case import (
    ARN,
    CONNECT,
    PUBLISH,
    RECEIVE,
    RETAIN,
    SERVICE,
    SUBSCRIBE,
    THING,
    Case,
    Group,
    Who,
    allow,
    deny,
    document,
    may,
    may_not,
    section,
)

ALL_OF_A = document(allow([PUBLISH, RECEIVE], "topic/a/*"), allow(SUBSCRIBE, "topicfilter/a/*"))
"""Publish, receive and subscribe below ``a/``."""
TYPES = {CONNECT: "client", SUBSCRIBE: "topicfilter", PUBLISH: "topic", RECEIVE: "topic", RETAIN: "topic"}
"""Which resource type each action asks for (Developer Guide, "AWS IoT Core action resources")."""


# fmt: off
# A table reads best in rows.


def _word(action: Action) -> str:
    return action.removeprefix("iot:")


def _default_deny() -> Iterator[Case]:
    for action in Action:
        yield may_not(f"no policy at all, {_word(action)}", "Who has no policy may do nothing.", (), action,
                      "sensor-1", wire=action is CONNECT)
    other = document(allow(PUBLISH, "topic/other"))
    yield may_not("a policy for another topic", "What no statement allows is denied.", other, PUBLISH, "a/b",
                  wire=True)
    yield may_not("a policy that only denies something else", "A Deny that does not match does not allow.",
                  document(deny(PUBLISH, "topic/x")), PUBLISH, "a/b", wire=True)
    yield may_not("a service without a policy", "A service is denied by default just as a device is.", (),
                  CONNECT, "collector", SERVICE, wire=True)


def _actions() -> Iterator[Case]:
    for action, kind in TYPES.items():
        rule = f"{_word(action)} is asked on a {kind} resource."
        yield may(f"{_word(action)} on its type", rule, document(allow(action, f"{kind}/a")), action, "a",
                  who=Who("a"), wire=True)
        for wrong in sorted(set(TYPES.values()) - {kind}):
            yield may_not(f"{_word(action)} on a {wrong} ARN",
                          f"{rule[:-1]}, so a {wrong} ARN never matches it.",
                          document(allow(action, f"{wrong}/a")), action, "a", Who("a"), wire=True)
    for granted in Action:
        others = document(allow([each for each in Action if each is not granted], "*"))
        yield may_not(f"every action but {_word(granted)}",
                      "Each action is allowed for itself: none follows from the others.", others, granted,
                      "sensor-1", wire=True)
    yield may("a deny of publish on a filter ARN leaves publish allowed",
              "A Deny on the wrong resource type never takes effect.",
              document(allow(PUBLISH, "topic/a"), deny(PUBLISH, "topicfilter/a")), PUBLISH, "a", wire=True)


def _explicit_deny() -> Iterator[Case]:
    wide = allow(PUBLISH, "topic/a/*")
    secret = deny(PUBLISH, "topic/a/secret")
    rule = "An explicit Deny wins over any Allow"
    yield may_not("deny after allow", f"{rule}, wherever it stands.", document(wide, secret), PUBLISH,
                  "a/secret", wire=True)
    yield may_not("deny before allow", f"{rule}: order means nothing.", document(secret, wide), PUBLISH,
                  "a/secret")
    yield may_not("deny in a later policy", f"{rule}, from whichever policy it comes.",
                  (document(wide), document(secret)), PUBLISH, "a/secret", wire=True)
    yield may_not("deny in an earlier policy", f"{rule}: the order of policies means nothing.",
                  (document(secret), document(wide)), PUBLISH, "a/secret")
    yield may("beside a narrow deny", "A Deny takes away what it matches and nothing more.",
              document(wide, secret), PUBLISH, "a/open", wire=True)
    yield may_not("a wide deny over a narrow allow", "A Deny wins although the Allow is more specific.",
                  document(allow(PUBLISH, "topic/a/b"), deny(PUBLISH, "topic/a/*")), PUBLISH, "a/b",
                  wire=True)
    yield may_not("the same resource allowed and denied", "Allow and Deny of the very same resource: denied.",
                  document(allow(PUBLISH, "topic/a"), deny(PUBLISH, "topic/a")), PUBLISH, "a")
    yield may_not("two allows against one deny", "Allows are not counted: one Deny is enough.",
                  document(wide, allow(PUBLISH, "topic/a/secret"), secret), PUBLISH, "a/secret")
    yield may("a deny of another action", "A Deny of Receive does not touch Publish.",
              document(wide, deny(RECEIVE, "topic/a/*")), PUBLISH, "a/b", wire=True)
    yield may_not("deny everything", "A Deny of every action on every resource leaves nothing.",
                  (document(allow("iot:*", "*")), document(deny("*", "*"))), RECEIVE, "a/b")
    yield may_not("a denied client id among allowed ones",
                  "A Deny of one client id stands against an Allow of all.",
                  document(allow(CONNECT, "client/*"), deny(CONNECT, "client/sensor-1")), CONNECT, "sensor-1",
                  wire=True)
    yield may("another client id than the denied one", "A Deny of one client id leaves the others.",
              document(allow(CONNECT, "client/*"), deny(CONNECT, "client/sensor-2")), CONNECT, "sensor-1",
              wire=True)
    yield may_not("receive denied below a subscribed filter",
                  "A wide subscription does not bring in what Receive denies.",
                  document(allow(RECEIVE, "topic/a/*"), deny(RECEIVE, "topic/a/secret")), RECEIVE, "a/secret",
                  wire=True)
    yield may("receive beside the denied topic", "Of a wide subscription, what Receive allows arrives.",
              document(allow(RECEIVE, "topic/a/*"), deny(RECEIVE, "topic/a/secret")), RECEIVE, "a/open",
              wire=True)


def _star() -> Iterator[Case]:
    below = "An asterisk stands for any run of characters"
    end, middle = document(allow(PUBLISH, "topic/a/*")), document(allow(PUBLISH, "topic/a/*/z"))
    yield may("star at the end, one level", f"{below}.", end, PUBLISH, "a/b", wire=True)
    yield may("star across levels", f"{below}, slashes among them.", end, PUBLISH, "a/b/c/d", wire=True)
    yield may("star for the empty run", f"{below}, also the empty one.", end, PUBLISH, "a/", wire=True)
    yield may_not("star does not eat the slash before it", f"{below}; the text before it must be there.", end,
                  PUBLISH, "a", wire=True)
    yield may_not("star and another beginning", "What stands before an asterisk is compared.", end, PUBLISH,
                  "b/b")
    yield may("star in the middle", f"{below}, in the middle too.", middle, PUBLISH, "a/b/z", wire=True)
    yield may("star in the middle across levels", f"{below}; in the middle it crosses levels.", middle,
              PUBLISH, "a/b/c/z", wire=True)
    yield may("star in the middle, empty", f"{below}; between two slashes it may be empty.", middle, PUBLISH,
              "a//z")
    yield may_not("star in the middle needs both slashes",
                  "The text on both sides must be there, without overlap.", middle, PUBLISH, "a/z", wire=True)
    yield may_not("star in the middle and another end", "What stands behind an asterisk is compared.", middle,
                  PUBLISH, "a/b/zz", wire=True)
    yield may("star finds the last end", "An asterisk reaches as far as the rest of the pattern needs.",
              middle, PUBLISH, "a/z/z/z")
    several = document(allow(PUBLISH, "topic/*/a/*/b"))
    yield may("several stars", "Each asterisk has a run of its own.", several, PUBLISH, "x/a/y/b", wire=True)
    yield may("several stars across levels", "Several asterisks share the text in any way that fits.",
              several, PUBLISH, "x/a/a/a/b/b")
    yield may_not("several stars in the wrong order", "The pieces between asterisks come in their order.",
                  several, PUBLISH, "x/b/y/a")
    begin = document(allow(PUBLISH, "topic/*/data"))
    yield may("star at the beginning", f"{below}, at the beginning too.", begin, PUBLISH, "x/y/data",
              wire=True)
    yield may_not("star at the beginning keeps the slash", "The slash behind the asterisk must be there.",
                  begin, PUBLISH, "data", wire=True)
    part = document(allow(PUBLISH, "topic/sensor*/t"))
    yield may("star within a level", "An asterisk may stand within a level.", part, PUBLISH, "sensor-7/t")
    yield may("star within a level leaves it", "An asterisk within a level may still cross to the next.",
              part, PUBLISH, "sensor/x/y/t")
    yield may("two stars in a row", "Two asterisks in a row are one.", document(allow(PUBLISH, "topic/a**b")),
              PUBLISH, "ab")
    only = document(allow(PUBLISH, "topic/*"))
    yield may("star alone", "topic/* is every topic.", only, PUBLISH, "any/thing/at/all", wire=True)
    yield may_not("star alone is of its type", "topic/* is no filter.", only, SUBSCRIBE, "any", wire=True)
    clients = document(allow(CONNECT, "client/sensor-*"))
    yield may("star in a client id", "A client id is matched as a topic is.", clients, CONNECT, "sensor-1",
              wire=True)
    yield may_not("star in a client id, another beginning",
                  "A client id must match from its first character.", clients, CONNECT, "my-sensor-1",
                  Who(client_id="my-sensor-1"), wire=True)


def _question_mark() -> Iterator[Case]:
    one, three = document(allow(PUBLISH, "topic/a?c")), document(allow(PUBLISH, "topic/s???"))
    yield may("one question mark", "A question mark stands for one character.", one, PUBLISH, "abc",
              wire=True)
    yield may_not("question mark for none", "A question mark does not stand for nothing.", one, PUBLISH, "ac",
                  wire=True)
    yield may_not("question mark for two", "A question mark stands for one character, not for two.", one,
                  PUBLISH, "abbc", wire=True)
    yield may("question mark for a slash", "The one character may be a slash.", one, PUBLISH, "a/c",
              wire=True)
    yield may("three question marks", "Each question mark takes its own character.", three, PUBLISH, "s123",
              wire=True)
    yield may_not("three question marks for two", "Three question marks need three characters.", three,
                  PUBLISH, "s12")
    yield may_not("three question marks for four", "Three question marks take three characters.", three,
                  PUBLISH, "s1234", wire=True)
    yield may("question mark for a letter beyond ASCII", "A character is a code point, not a byte.", one,
              PUBLISH, "aéc")
    yield may("question mark for an emoji", "A character beyond the first plane is one character.", one,
              PUBLISH, "a🌡c")
    at_end = document(allow(PUBLISH, "topic/a/?*"))
    yield may_not("question mark and star need one", "?* is one character or more.", at_end, PUBLISH, "a/",
                  wire=True)
    yield may("question mark and star for many", "?* is as many characters as there are.", at_end, PUBLISH,
              "a/b/c")
    yield may_not("denied by a question mark", "Wildcards work in a Deny as they do in an Allow.",
                  document(allow(PUBLISH, "topic/*"), deny(PUBLISH, "topic/a?")), PUBLISH, "ab", wire=True)


def _mqtt_wildcards() -> Iterator[Case]:
    plus = document(allow(PUBLISH, "topic/a/+/c"))
    rule = "Plus and hash mean nothing in a policy but themselves"
    yield may_not("plus does not match a level", f"{rule}.", plus, PUBLISH, "a/b/c", wire=True)
    yield may("plus matches a plus", f"{rule}: a topic with a plus matches.", plus, PUBLISH, "a/+/c")
    below = document(allow(PUBLISH, "topic/a/#"))
    yield may_not("hash does not match below", f"{rule}.", below, PUBLISH, "a/b", wire=True)
    yield may_not("hash receives nothing below", f"{rule}; Receive on topic/a/# receives nothing.",
                  document(allow(RECEIVE, "topic/a/#")), RECEIVE, "a/b", wire=True)
    yield may_not("plus receives nothing", f"{rule}; Receive on topic/a/+ receives nothing.",
                  document(allow(RECEIVE, "topic/a/+")), RECEIVE, "a/b", wire=True)
    yield may("hash in a filter is itself", f"{rule}: the filter a/# is allowed by topicfilter/a/#.",
              document(allow(SUBSCRIBE, "topicfilter/a/#")), SUBSCRIBE, "a/#", wire=True)
    yield may_not("hash in a filter is not wider", f"{rule}: topicfilter/a/# does not allow the filter a/b.",
                  document(allow(SUBSCRIBE, "topicfilter/a/#")), SUBSCRIBE, "a/b", wire=True)
    yield may("plus in a filter is itself", f"{rule}: the filter +/x is allowed by topicfilter/+/x.",
              document(allow(SUBSCRIBE, "topicfilter/+/x")), SUBSCRIBE, "+/x", wire=True)
    yield may("a deny with a hash does not reach below", f"{rule}, in a Deny too; lint warns of it.",
              document(allow(PUBLISH, "topic/*"), deny(PUBLISH, "topic/a/#")), PUBLISH, "a/b", wire=True)


def _filters() -> Iterator[Case]:
    wide = document(allow(SUBSCRIBE, "topicfilter/a/*"))
    narrow = document(allow(SUBSCRIBE, "topicfilter/a/?"))
    yield may("a filter with a hash below a star", "A filter is compared as text: a/# begins with a/.", wide,
              SUBSCRIBE, "a/#", wire=True)
    yield may("a filter with a plus below a star", "A filter is compared as text: a/+/b begins with a/.",
              wide, SUBSCRIBE, "a/+/b", wire=True)
    yield may_not("a filter wider than the pattern", "The filter # is not text that begins with a/.", wide,
                  SUBSCRIBE, "#", wire=True)
    yield may_not("a filter with a plus at the front",
                  "The filter +/b would match a/b, but its text does not begin so.", wide, SUBSCRIBE, "+/b",
                  wire=True)
    yield may("a hash for a question mark", "To a policy a hash in the filter is one character.", narrow,
              SUBSCRIBE, "a/#", wire=True)
    yield may("every filter", "topicfilter/* allows the filter #.",
              document(allow(SUBSCRIBE, "topicfilter/*")), SUBSCRIBE, "#", wire=True)
    yield may_not("subscribe is not receive", "Who may subscribe may not therefore receive.", wide, RECEIVE,
                  "a/b", wire=True)
    yield may_not("receive is not subscribe", "Who may receive may not therefore subscribe.",
                  document(allow(RECEIVE, "topic/*")), SUBSCRIBE, "a/b", wire=True)
    denied = document(allow(SUBSCRIBE, "topicfilter/*"), deny(SUBSCRIBE, "topicfilter/a/secret"))
    yield may_not("a denied filter", "A Deny of one filter forbids that filter.", denied, SUBSCRIBE,
                  "a/secret", wire=True)
    yield may("a wider filter past a deny",
              "A Deny of one filter does not forbid a wider one: deny Receive instead.", denied, SUBSCRIBE,
              "a/#", wire=True)
    yield may("a filter under publish's policy", "One policy may hold statements for each side.", ALL_OF_A,
              SUBSCRIBE, "a/b", wire=True)
    yield may("a topic under the same policy", "Receive is asked on the topic of each message.", ALL_OF_A,
              RECEIVE, "a/b", wire=True)
    yield may_not("a topic outside the policy",
                  "A message outside is not delivered, whatever was subscribed.", ALL_OF_A, RECEIVE, "b/a",
                  wire=True)


def _literal() -> Iterator[Case]:
    mine = document(allow(PUBLISH, "topic/sensor-1"))
    below = document(allow(PUBLISH, "topic/sensor-1/*"))
    yield may_not("case of a topic", "Topics differ by case.", mine, PUBLISH, "Sensor-1", wire=True)
    yield may_not("case of a client id", "Client ids differ by case.",
                  document(allow(CONNECT, "client/SENSOR-1")), CONNECT, "sensor-1", wire=True)
    yield may_not("a longer name", "sensor-1 is not sensor-10: the whole resource must match.", mine, PUBLISH,
                  "sensor-10", wire=True)
    yield may_not("a shorter name", "A resource that ends early does not match.", mine, PUBLISH, "sensor-",
                  wire=True)
    yield may_not("something in front", "A resource must match from its beginning.", mine, PUBLISH,
                  "x/sensor-1")
    yield may_not("a leading slash", "/sensor-1 is another topic than sensor-1.", mine, PUBLISH, "/sensor-1",
                  wire=True)
    yield may_not("a trailing slash", "sensor-1/ is another topic than sensor-1.", mine, PUBLISH, "sensor-1/",
                  wire=True)
    yield may_not("a neighbor below", "topic/sensor-1/* does not reach sensor-10/x.", below, PUBLISH,
                  "sensor-10/x", wire=True)
    yield may("a neighbor caught by a careless star",
              "topic/sensor-1* does reach sensor-10/x: the slash matters.",
              document(allow(PUBLISH, "topic/sensor-1*")), PUBLISH, "sensor-10/x", wire=True)
    yield may_not("no climbing with dots", "Dots are ordinary: a/../b is no b.",
                  document(allow(PUBLISH, "topic/b")), PUBLISH, "a/../b", wire=True)
    for name, pattern, topic in (
        ("a dot", "topic/a.b", "axb"),
        ("a plus sign after a letter", "topic/ab+", "abb"),
        ("brackets", "topic/[ab]", "a"),
        ("a bar", "topic/a|b", "a"),
        ("anchors", "topic/^a$", "a"),
        ("a backslash", "topic/a\\d", "a1"),
    ):
        rule = "What has a meaning elsewhere is ordinary text in a policy."
        policy = document(allow(PUBLISH, pattern))
        yield may_not(f"{name} has no meaning", rule, policy, PUBLISH, topic, wire=True)
        yield may(f"{name} is itself", rule, policy, PUBLISH, pattern.removeprefix("topic/"))
    yield may("a colon in a topic", "Colons in a resource belong to it.",
              document(allow(PUBLISH, "topic/a:b:c")), PUBLISH, "a:b:c", wire=True)
    yield may_not("a space at the end", "A space is a character like any other.", mine, PUBLISH, "sensor-1 ",
                  wire=True)


def _text() -> Iterator[Case]:
    yield may("letters beyond ASCII", "Text is compared by its characters, whatever their script.",
              document(allow(PUBLISH, "topic/größe/温度")), PUBLISH, "größe/温度", wire=True)
    yield may_not("composed and decomposed", "Text is not normalized: é in one character is not é in two.",
                  document(allow(PUBLISH, "topic/caf\u00e9")), PUBLISH, "cafe\u0301", wire=True)
    yield may_not("a look-alike", "A Cyrillic letter is not the Latin one that looks like it.",
                  document(allow(PUBLISH, "topic/a")), PUBLISH, "\u0430", wire=True)
    yield may("a star over a newline", "An asterisk takes a newline as any character.",
              document(allow(PUBLISH, "topic/a/*")), PUBLISH, "a/b\nc")
    yield may("a question mark over a newline", "A question mark takes a newline as any character.",
              document(allow(PUBLISH, "topic/a?b")), PUBLISH, "a\nb")
    yield may_not("a newline at the end", "A newline at the end is one character too many.",
                  document(allow(PUBLISH, "topic/a")), PUBLISH, "a\n")
    yield may_not("a newline before a client id", "A second line is not a second chance.",
                  document(allow(CONNECT, "client/sensor-1")), CONNECT, "x\nsensor-1",
                  Who(client_id="x\nsensor-1"))
    yield may("a dollar topic by name", "A dollar without a brace is an ordinary character.",
              document(allow(PUBLISH, "topic/$aws/things/sensor-1/shadow/update")), PUBLISH,
              "$aws/things/sensor-1/shadow/update")
    yield may("a dollar topic under a star",
              "To a policy an asterisk takes $aws/… too; only MQTT's # does not.",
              document(allow(PUBLISH, "topic/*")), PUBLISH, "$aws/things/x/shadow/get")
    yield may("a dollar before a variable", "A dollar before a variable is itself.",
              document(allow(PUBLISH, f"topic/${THING}")), PUBLISH, "$sensor-1")
    yield may_not("an empty level is a level", "a//b is another topic than a/b.",
                  document(allow(PUBLISH, "topic/a/b")), PUBLISH, "a//b", wire=True)
    yield may("a long topic", "A pattern may have as many asterisks as it likes.",
              document(allow(PUBLISH, "topic/" + "*a" * 20)), PUBLISH, "a" * 200)
    yield may_not("a long topic that just fails", "Many asterisks and no match: denied, and soon.",
                  document(allow(PUBLISH, "topic/" + "*a" * 20 + "b")), PUBLISH, "a" * 200, wire=True)


def _arn() -> Iterator[Case]:
    one = "One service is one region and one account: whichever an ARN names is this one"
    for name, region, account in (
        ("another region", "us-east-1", "123456789012"),
        ("another account", "eu-central-1", "999999999999"),
        ("any region and account", "*", "*"),
    ):
        arn = f"arn:aws:iot:{region}:{account}:topic/a"
        yield may(name, f"{one}.", document(allow(PUBLISH, arn)), PUBLISH, "a", wire=True)
        yield may_not(f"{name}, another topic", f"{one}; the resource is compared.",
                      document(allow(PUBLISH, arn)), PUBLISH, "b")
        yield may_not(f"a deny for {name}", f"{one}, in a Deny too.",
                      document(allow(PUBLISH, "topic/a"), deny(PUBLISH, arn)), PUBLISH, "a", wire=True)
    for action in Action:
        yield may(f"a star after the account, {_word(action)}",
                  "A star where the resource stands is every resource of every type.",
                  document(allow(action, f"{ARN}*")), action, "sensor-1", wire=True)


def _everything() -> Iterator[Case]:
    iot, star = document(allow("iot:*", "*")), document(allow("*", "*"))
    for action in Action:
        yield may(f"iot:* is {_word(action)}", "iot:* is every action and Resource * everything.", iot,
                  action, "sensor-1", wire=True)
        yield may(f"* is {_word(action)}", "* is every action.", star, action, "sensor-1")
    yield may("Resource * for one action", "Resource * is every client id for Connect.",
              document(allow(CONNECT, "*")), CONNECT, "sensor-1", wire=True)
    yield may_not("Resource * for one action only", "Resource * does not widen the action.",
                  document(allow(CONNECT, "*")), PUBLISH, "a", wire=True)
    yield may_not("iot:* on one topic", "iot:* does not widen the resource.",
                  document(allow("iot:*", "topic/a")), PUBLISH, "b", wire=True)
    yield may_not("iot:* on a topic is no subscription",
                  "iot:* on a topic ARN holds for what is asked on topics.",
                  document(allow("iot:*", "topic/*")), SUBSCRIBE, "a", wire=True)
    yield may("iot:* on a topic retains", "iot:* on a topic ARN holds RetainPublish.",
              document(allow("iot:*", "topic/a")), RETAIN, "a", wire=True)
    yield may_not("a deny of iot:* on a topic", "A Deny of iot:* forbids each action on that resource.",
                  document(allow("*", "*"), deny("iot:*", "topic/a")), RECEIVE, "a", wire=True)


def _several() -> Iterator[Case]:
    two = (document(allow(PUBLISH, "topic/a")), document(allow(PUBLISH, "topic/b")))
    yield may("the first of two policies", "Policies add up.", two, PUBLISH, "a", wire=True)
    yield may("the second of two policies", "Policies add up, whichever comes first.", two, PUBLISH, "b",
              wire=True)
    yield may_not("neither of two policies", "Two policies allow what one of them allows, no more.", two,
                  PUBLISH, "c", wire=True)
    lists = document(allow([PUBLISH, RECEIVE], "topic/a", "topic/b"))
    yield may("the second action on the second resource",
              "Each action of a statement holds for each resource.", lists, RECEIVE, "b", wire=True)
    yield may_not("an action that is not in the list", "A list of actions is no more than its entries.",
                  lists, RETAIN, "a", wire=True)
    yield may_not("actions do not wander between statements",
                  "One statement's action does not meet another's resource.",
                  document(allow(PUBLISH, "topic/a"), allow(RECEIVE, "topic/b")), PUBLISH, "b", wire=True)
    ten = tuple(document(allow(PUBLISH, f"topic/{number}")) for number in range(10))
    yield may("the last of ten policies", "Ten policies are all looked at.", ten, PUBLISH, "9", wire=True)
    yield may_not("the tenth policy denies", "A Deny counts in the last policy too.",
                  (*ten[:9], document(deny(PUBLISH, "topic/*"))), PUBLISH, "0", wire=True)


# fmt: on


def rows() -> tuple[Case, ...]:
    """Every case of this file."""
    return (
        *section(Group.DEFAULT_DENY, *_default_deny()),
        *section(Group.ACTIONS, *_actions()),
        *section(Group.EXPLICIT_DENY, *_explicit_deny()),
        *section(Group.STAR, *_star()),
        *section(Group.QUESTION_MARK, *_question_mark()),
        *section(Group.MQTT_WILDCARDS, *_mqtt_wildcards()),
        *section(Group.FILTERS, *_filters()),
        *section(Group.LITERAL, *_literal()),
        *section(Group.TEXT, *_text()),
        *section(Group.ARN, *_arn()),
        *section(Group.EVERYTHING, *_everything()),
        *section(Group.SEVERAL, *_several()),
    )
