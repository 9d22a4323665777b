"""What each method answers to each case, on both backends: the table that is walked, and that people read.

A row has what most ways answer (``*``) and what others do. ``—`` begins why there is nothing to try.
"""

Row = dict[str, str]

TABLE: dict[str, Row] = {
    "works": {
        "*": "201",
    },
    "repeated": {
        "*": "200",
    },
    "nothing shown": {
        "*": "403 method_not_accepted",
        "registered": "— it demands nothing that is shown",
        "ask": "— it demands nothing that is shown",
        "webhook": "— it demands nothing that is shown",
        "registered + webhook": "— it demands nothing that is shown",
    },
    "wrong": {
        "*": "401 credential_refused",
        "group-key": "401 group_key_refused",
        "factory": "401 factory_refused",
        "oidc": "401 id_token_signature",
        "registered": "403 key_not_registered",
        "ask": "— whom nobody approved waits: see `undecided`",
        "webhook": "— nothing is shown; what the other service says of the request: see `webhook says no`",
        "factory + webhook": "401 factory_refused",
        "registered + webhook": "403 key_not_registered",
    },
    "other method": {
        "*": "403 method_not_accepted",
    },
    "tampered": {
        "*": "— nothing is signed",
        "group-key": "401 group_key_refused",
        "factory": "401 factory_refused",
        "factory + webhook": "401 factory_refused",
    },
    "other factory key": {
        "*": "— there is no certificate",
        "factory": "401 factory_refused",
        "factory + webhook": "401 factory_refused",
    },
    "replayed": {
        "*": "400 bad_nonce",
        "token": "— whoever has a secret may use it: see `used up` and `name taken`",
        "oidc": "403 id_token_used",
        "registered": "— who has the key gets its one certificate: see `repeated`",
        "ask": "202",
        "webhook": "— nothing is shown that could be",
        "token + ask": "— whoever has a secret may use it: see `used up` and `name taken`",
        "registered + webhook": "— who has the key gets its one certificate: see `repeated`",
    },
    "misdirected": {
        "*": "— nothing is signed",
        "group-key": "401 signed_for_elsewhere",
        "factory": "401 signed_for_elsewhere",
        "factory + webhook": "401 signed_for_elsewhere",
    },
    "expired": {
        "*": "401 token_expired",
        "group-key": "401 group_key_expired",
        "factory": "401 factory_expired",
        "oidc": "401 id_token_expired",
        "registered": "— an announcement has no end: see `withdrawn`",
        "ask": "202",
        "webhook": "— nothing is shown",
        "factory + webhook": "401 factory_expired",
        "registered + webhook": "— an announcement has no end: see `withdrawn`",
    },
    "too early": {
        "*": "— it is good from when it is made",
        "factory": "401 factory_not_yet",
        "oidc": "401 id_token_not_yet",
        "factory + webhook": "401 factory_not_yet",
    },
    "withdrawn": {
        "*": "401 credential_refused",
        "group-key": "401 group_key_refused",
        "factory": "401 factory_refused",
        "oidc": "— its provider takes it back, by the key: see `issuer takes a key back`",
        "registered": "403 key_not_registered",
        "ask": "403 approval_refused",
        "webhook": "— nothing was given",
        "factory + webhook": "401 factory_refused",
        "registered + webhook": "403 key_not_registered",
    },
    "another name": {
        "*": "403 name_not_permitted",
        "group-key": "401 group_key_refused",
        "registered": "403 key_not_registered",
        "ask": "202",
        "webhook": "— nothing is shown that is for a name",
        "registered + webhook": "403 key_not_registered",
    },
    "not of the group": {
        "*": "403 name_not_in_group",
    },
    "name in the csr": {
        "*": "400 csr_name_mismatch",
    },
    "name taken": {
        "*": "409 thing_name_taken",
    },
    "key of another": {
        "*": "409 key_in_use",
        "registered": "— a key is announced for one name: see `another name`",
        "registered + webhook": "— a key is announced for one name: see `another name`",
    },
    "another group": {
        "*": "403 group_differs",
        "factory": "401 factory_refused",
        "oidc": "401 id_token_audience",
        "registered": "403 key_not_registered",
        "ask": "202",
        "webhook": "— nothing is shown; each group asks its own service",
        "factory + webhook": "401 factory_refused",
        "registered + webhook": "403 key_not_registered",
    },
    "unknown group": {
        "*": "403 group_unknown",
        "token": "— a token says its group itself: see `another group`",
        "token + ask": "— a token says its group itself: see `another group`",
    },
    "no group": {
        "*": "400 group_missing",
        "token": "— a token says its group itself",
        "registered": "401 credential_missing",
        "ask": "401 credential_missing",
        "webhook": "401 credential_missing",
        "token + ask": "— a token says its group itself",
        "registered + webhook": "401 credential_missing",
    },
    "group removed": {
        "*": "403 group_unknown",
    },
    "used up": {
        "*": "— it is good for one name and key, which have one certificate",
        "token": "403 token_exhausted",
        "group-key": "403 group_key_exhausted",
        "factory": "— a certificate is for one name, which has one key: see `name taken`",
        "oidc": "— a token is for one name: see `replayed`",
        "webhook": "— nothing is shown; the group has limits",
        "token + ask": "403 token_exhausted",
        "factory + webhook": "— a certificate is for one name, which has one key: see `name taken`",
    },
    "group full": {
        "*": "403 group_full",
    },
    "group rate": {
        "*": "429 group_rate",
    },
    "another network": {
        "*": "403 network_not_permitted",
    },
    "before the window": {
        "*": "403 group_not_open",
    },
    "after the window": {
        "*": "403 group_closed",
    },
    "asked after the window": {
        "*": "— nobody is asked",
        "ask": "403 group_closed",
        "token + ask": "403 group_closed",
    },
    "lost answer after the window": {
        "*": "200",
        "registered": "403 group_closed",
        "ask": "403 group_closed",
        "webhook": "403 group_closed",
        "registered + webhook": "403 group_closed",
    },
    "attribute": {
        "*": "403 attribute_not_permitted",
    },
    "undecided": {
        "*": "— nobody is asked",
        "ask": "202",
        "token + ask": "202",
    },
    "person refuses": {
        "*": "— nobody is asked",
        "ask": "403 approval_refused",
        "token + ask": "403 approval_refused",
    },
    "too many ask": {
        "*": "— nobody is asked",
        "ask": "503 approvals_full",
        "token + ask": "503 approvals_full",
    },
    "webhook says no": {
        "*": "— no other service is asked",
        "webhook": "403 webhook_refused",
        "factory + webhook": "403 webhook_refused",
        "registered + webhook": "403 webhook_refused",
    },
    "webhook down": {
        "*": "— no other service is asked",
        "webhook": "503 webhook_unavailable",
        "factory + webhook": "503 webhook_unavailable",
        "registered + webhook": "503 webhook_unavailable",
    },
    "webhook gives too much": {
        "*": "— no other service is asked",
        "webhook": "503 webhook_unavailable",
        "factory + webhook": "503 webhook_unavailable",
        "registered + webhook": "503 webhook_unavailable",
    },
    "issuer down": {
        "*": "— there is no provider",
        "oidc": "503 issuer_unavailable",
    },
    "issuer takes a key back": {
        "*": "— there is no provider",
        "oidc": "401 id_token_signature",
    },
}


def expected(case: str, way: str) -> str:
    """What a way answers."""
    row = TABLE[case]
    return row.get(way, row["*"])
