"""Who signs within a claim: the registry is made before the authority is opened."""

from keyborn.adapters.ca import EmbeddedAuthority
from keyborn.domain.granting import GrantListener, GrantStep
from keyborn.domain.issuance import ApprovedRequest
from keyborn.domain.issued import SignedLeaf
from keyborn.service.saga import SagaStep, StepListener

_STEPS = {
    GrantStep.DECIDED: SagaStep.CLAIMED,
    GrantStep.SIGNED: SagaStep.SIGNED,
    GrantStep.WRITTEN: SagaStep.STORED,
}


class SigningInPlace:
    """Implements ``ports.Signer`` by the authority of the same process, once that is open.

    A change of the root gives that authority other keys (``EmbeddedAuthority.adopt``): it stays the same one.
    """

    def __init__(self) -> None:
        self.authority: EmbeddedAuthority | None = None

    def sign(self, approved: ApprovedRequest) -> SignedLeaf:
        """See ``Signer.sign``."""
        if self.authority is None:
            raise RuntimeError("nobody can enrol before the authority is open")
        return self.authority.sign(approved)

    @staticmethod
    def telling(listener: StepListener) -> GrantListener:
        """Whoever watches the saga hears the steps within a claim by the same names."""
        return lambda step: listener(_STEPS[step])
