"""Leaves: what stands in the way of a change of the root."""

from keyborn.domain.errors.tree import Conflict


class NoNextRoot(Conflict):
    """Nothing has been introduced that certificates could come from."""

    code = "no_next_root"
    sentence = "There is no next root to switch to. Introduce one first: keyborn ca renew-root"


class NoOldRoot(Conflict):
    """No root is left from an earlier switch."""

    code = "no_old_root"
    sentence = "There is no old root: certificates come from the only root that devices believe."


class OldRootThere(Conflict):
    """The change before has not come to its end."""

    code = "old_root_there"
    sentence = (
        "The root before the present one is still believed, and two are enough at a time. "
        "End that change first: keyborn ca retire-root"
    )


class RootsLacking(Conflict):
    """Things would be locked out: they do not believe what they would have to believe, or never said."""

    code = "roots_lacking"
    sentence = (
        "Things that do not have the newest roots, as far as they have said: {count}. They would be locked "
        "out. See them with: keyborn ca roots --lacking. Wait for them, or leave them behind with --force."
    )


class OldRootInUse(Conflict):
    """Certificates that hold come from the root that is to go."""

    code = "old_root_in_use"
    sentence = (
        "Things with a certificate from the old root: {count}. The broker would refuse them. "
        "See them with: keyborn ca roots --under-old. Have them renew, or leave them behind with --force."
    )
