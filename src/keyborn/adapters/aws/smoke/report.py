"""What a run says of itself: for people, for programs, and as a file for an issue."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keyborn.adapters.aws.smoke.run import Finding
from keyborn.adapters.aws.stack.outputs import StackOutputs


@dataclass(frozen=True, slots=True)
class Report:
    """The findings, and where they were made."""

    stack: str
    region: str
    versions: Mapping[str, str]
    """Of Keyborn, and of what talks to AWS."""
    begun: str
    """ISO 8601."""
    seconds: float
    findings: Sequence[Finding]
    left: Sequence[tuple[str, str]] = ()
    """What could not be removed, each with the command that does it."""

    @property
    def counts(self) -> dict[str, int]:
        """How many hold, differ, are not decided."""
        found = Counter(one.word for one in self.findings)
        return {word: found[word] for word in ("holds", "differs", "not decided")}

    @property
    def differing(self) -> list[str]:
        """The names of the checks that differ."""
        return [one.check.name for one in self.findings if one.word == "differs"]

    def rows(self) -> list[dict[str, str]]:
        """The table: check, verdict, seen."""
        return [{"check": one.check.name, "verdict": one.word, "seen": one.seen} for one in self.findings]

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "stack": self.stack,
            "region": self.region,
            "versions": dict(self.versions),
            "begun": self.begun,
            "seconds": round(self.seconds, 1),
            "counts": self.counts,
            "checks": [_entry(one) for one in self.findings],
            "left": [{"what": what, "command": command} for what, command in self.left],
        }

    def markdown(self) -> str:
        """For an issue."""
        counted = ", ".join(f"{count} {word}" for word, count in self.counts.items())
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        lines = [
            "# Keyborn's assumptions about AWS, tried\n",
            f"{self.begun}, {self.region}, {self.seconds:.0f} s. {versions}.\n",
            f"{counted}.",
        ]
        for theme in dict.fromkeys(one.theme for one in self.findings):
            lines += ["", f"## {theme.capitalize()}\n", "| check | verdict | seen |", "| --- | --- | --- |"]
            lines += [_row(one) for one in self.findings if one.theme == theme]
        lines += _differences(self.findings)
        if self.left:
            lines += ["", "## Left behind\n", *(f"- {what}: `{command}`" for what, command in self.left)]
        return "\n".join(lines) + "\n"


def _entry(one: Finding) -> dict[str, Any]:
    found: dict[str, Any] = {
        "check": one.check.name,
        "theme": one.theme,
        "assumption": one.check.assumption,
        "relied": one.check.relied,
        "verdict": one.word,
        "seen": one.seen,
        "seconds": round(one.seconds, 1),
    }
    return found | ({"means": one.means, "remedy": one.remedy} if one.word == "differs" else {})


def _row(one: Finding) -> str:
    mark = "**differs**" if one.word == "differs" else one.word
    return f"| {one.check.name} | {mark} | {_cell(one.seen)} |"


def _differences(findings: Sequence[Finding]) -> list[str]:
    found = [one for one in findings if one.word == "differs"]
    if not found:
        return []
    lines = ["", "## What differs, and what it means"]
    for one in found:
        lines += ["", f"### {one.check.name}\n", f"- Assumed: {one.check.assumption}"]
        lines += [f"- Seen: {_cell(one.seen)}", f"- Relied on by: {one.check.relied}"]
        lines += [f"- Means: {one.means}", f"- Do: {one.remedy}"]
    return lines


def _cell(text: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in text)
    return plain.replace("|", "\\|").replace("<", "&lt;")


class Mask:
    """Takes out of a text what tells whose account it was."""

    def __init__(self, outputs: StackOutputs) -> None:
        host = outputs.url.partition("://")[2].partition(":")[0]
        known = {
            outputs.account: "ACCOUNT",
            outputs.mqtt_host: "ENDPOINT",
            host: "DOOR",
            outputs.api_id: "API",
        }
        own = outputs.mqtt_host.partition(".")[0]
        self._known = {one: word for one, word in {**known, own: "ENDPOINT"}.items() if one}

    def __call__(self, text: str) -> str:
        """The text without them."""
        for one in sorted(self._known, key=len, reverse=True):
            text = text.replace(one, f"({self._known[one]})")
        return text
