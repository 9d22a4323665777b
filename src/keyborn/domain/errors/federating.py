"""Leaves: tokens of somebody else's identity provider."""

from keyborn.domain.errors.tree import Forbidden, Unauthenticated


class IdTokenMalformed(Unauthenticated):
    """Not a JWT that anybody could verify, by its form alone, or one whose issuer left something out."""

    code = "id_token_malformed"
    sentence = "The identity token is not acceptable: {detail}. Send one JWT as its issuer gives it."


class IdTokenUnproved(Unauthenticated):
    """No key of the group's issuer verifies it: another issuer's, forged, or of a key that was taken back."""

    code = "id_token_signature"
    sentence = (
        "The identity token is not signed by the identity provider of this enrolment group. "
        "Get one from that provider."
    )


class IdTokenIssuer(Unauthenticated):
    """The right key signed it, for another ``iss``: some providers share keys among their customers."""

    code = "id_token_issuer"
    sentence = (
        "The identity token names another issuer than this enrolment group does. "
        "Get one from the provider of this group."
    )


class IdTokenAudience(Unauthenticated):
    """It was made to be shown to somebody else."""

    code = "id_token_audience"
    sentence = (
        "The identity token is not for the audience that this enrolment group expects. "
        "Ask its provider for one with that audience."
    )


class IdTokenExpired(Unauthenticated):
    """After its ``exp``."""

    code = "id_token_expired"
    sentence = "The identity token expired at {expired}. Get a fresh one from its provider."


class IdTokenNotYet(Unauthenticated):
    """Before its ``nbf``, or its ``iat`` lies ahead, by more than clocks may differ."""

    code = "id_token_not_yet"
    sentence = (
        "The identity token is good from {begins} only. "
        "Wait, or have the clocks of the provider and of this service looked at."
    )


class IdTokenLifetime(Unauthenticated):
    """Good for so long that it is a password, not the proof of a moment."""

    code = "id_token_lifetime"
    sentence = "The identity token is good for more than {hours} hours. Have its provider give shorter ones."


class IdTokenClaim(Forbidden):
    """A claim that the group demands is missing, or has another value."""

    code = "id_token_claim"
    sentence = (
        "The identity token does not have the claim {claim} that the enrolment group {group} demands. "
        "Ask the operator who may enrol there."
    )


class IdTokenUsed(Forbidden):
    """It is bound to another key by now: whoever shows it again is somebody else."""

    code = "id_token_used"
    sentence = (
        "The identity token has enrolled another key already, and is good for that one alone. "
        "Get a fresh one from its provider."
    )
