"""All checks, in the order in which they are done; themes are what a report is divided by."""

from keyborn.adapters.aws.smoke import certificates, connecting, policies, revoking, stack, table, things
from keyborn.adapters.aws.smoke.check import Check

THEMES: dict[str, tuple[Check, ...]] = {
    "stack": stack.CHECKS,
    "certificates": certificates.CHECKS,
    "things": things.CHECKS,
    "policies": policies.CHECKS,
    "table": table.CHECKS,
    "broker": connecting.CHECKS,
    "sessions": revoking.CHECKS,
}
"""The last one waits for what AWS does by itself, minutes later."""
THEME_OF = {one.name: theme for theme, checks in THEMES.items() for one in checks}
ALL: tuple[Check, ...] = tuple(one for checks in THEMES.values() for one in checks)
