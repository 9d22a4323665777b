"""What can go wrong between a program and the agent of its home, or with the agent itself."""

from keyborn.domain.errors.tree import DeviceError


class InvalidLine(DeviceError):
    """What a program sent is not a line of the agent's protocol."""

    code = "invalid_line"
    sentence = "The agent cannot use this line: {detail}. See docs/agent.md for what it takes."


class TooMuchAtOnce(DeviceError):
    """A bound of the agent's socket: programs, subscriptions, answers that are waited for."""

    code = "too_much_at_once"
    sentence = "The agent takes no more than {limit} {what} at once. Close some, and try again."


class SlowReader(DeviceError):
    """A program does not read what it asked for; the agent does not keep it all for it."""

    code = "slow_reader"
    sentence = (
        "The program did not read what the agent sent, up to {limit} bytes. Connect again, read faster."
    )


class AgentRefused(DeviceError):
    """The agent said no. ``code`` and the sentence are its own."""

    code = "agent_refused"
    sentence = "The agent of this device refused: {detail}"

    def __init__(self, *, detail: str, code: str | None = None) -> None:
        super().__init__(detail=detail)
        if code:
            vars(self)["code"] = code  # this instance speaks for the agent, in its words
            self.args = (detail,)


class AgentGone(DeviceError):
    """The agent ended, or did not answer."""

    code = "agent_gone"
    sentence = "The agent of {path} ended the conversation. See its log, and run the same command again."


class AgentRunning(DeviceError):
    """What a command would take away is in use."""

    code = "agent_running"
    sentence = "An agent runs in {path}. Stop it first (systemctl stop keyborn-agent), then try again."


class AgentBroken(DeviceError):
    """The agent's own fault: it ends, and is started again."""

    code = "agent_broken"
    sentence = "The agent of {path} has failed: {detail}. Nothing is lost; start it again."


class RenewalNotDone(DeviceError):
    """``keyborn renew`` ended without a new certificate."""

    code = "renewal_not_done"
    sentence = "The certificate was not renewed: {detail}"
