"""Leaves: certificate requests that no profile would sign."""

from keyborn.domain.errors.tree import InputError


class CsrRefused(InputError):
    """A certificate request that no profile would sign. Nothing has been written."""

    code = "csr_refused"


class CsrTooLarge(CsrRefused):
    """Over 4096 characters (AWS IoT's limit for CreateCertificateFromCsr)."""

    code = "csr_too_large"
    sentence = "The CSR has {length} characters; the limit is 4096. Leave out extensions and long subjects."


class CsrMalformed(CsrRefused):
    """Not one PEM block of one DER PKCS#10 request."""

    code = "csr_malformed"
    sentence = "The CSR cannot be read: {detail}. Send one PEM block, as `openssl req -new` writes it."


class CsrBadSignature(CsrRefused):
    """The proof of possession fails."""

    code = "csr_bad_signature"
    sentence = (
        "The CSR's signature does not fit its public key. Make the CSR again with the device's own key."
    )


class CsrWeakSignature(CsrRefused):
    """SHA-1, MD5 or another digest below SHA-256."""

    code = "csr_weak_signature"
    sentence = "The CSR is signed with {algorithm}. Sign it with SHA-256 or better (openssl req -sha256)."


class KeyTypeRefused(CsrRefused):
    """A key algorithm or curve outside RSA, P-256, P-384, P-521."""

    code = "key_type_refused"
    sentence = "The key is {key}; {reason}. Use P-256, P-384, P-521 or RSA 2048 to 4096."


class KeySizeRefused(CsrRefused):
    """RSA outside 2048-4096 bits."""

    code = "key_size_refused"
    sentence = "The RSA key has {bits} bits. Use 2048 to 4096, or P-256."


class WeakExponent(CsrRefused):
    """RSA public exponent below 65537 (CA/B Forum Baseline Requirements 6.1.6)."""

    code = "key_weak_exponent"
    sentence = "The RSA key has the public exponent {exponent}. Make a new key with 65537."


class ClosePrimes(CsrRefused):
    """Fermat's method factors the modulus within 100 rounds."""

    code = "key_close_primes"
    sentence = (
        "The RSA key's primes are too close: anyone can factor it. Make a new key with a sound generator."
    )


class RocaKey(CsrRefused):
    """CVE-2017-15361: the modulus carries the fingerprint of the Infineon library."""

    code = "key_roca"
    sentence = (
        "The RSA key comes from a chip library with the ROCA flaw (CVE-2017-15361). Make the key elsewhere."
    )


class SmallFactor(CsrRefused):
    """The modulus is even or divisible by a small prime (CA/B BR 6.1.6)."""

    code = "key_small_factor"
    sentence = "The RSA modulus is divisible by {factor}. Make a new key with a sound generator."


class WeakKey(CsrRefused):
    """A key that is malformed or has no secret: a point off the curve, bad parameters, repeated bytes."""

    code = "key_weak"
    sentence = "The key is not usable: {detail}. Make a new key."


class CsrNameMismatch(CsrRefused):
    """The common name is not the thing name."""

    code = "csr_name_mismatch"
    sentence = "The CSR's common name is {found}, not the thing name. Make the CSR with CN={expected}."


class CsrSubjectRefused(CsrRefused):
    """Two common names, control characters, MQTT specials, oversized attributes and their like."""

    code = "csr_subject_refused"
    sentence = "The CSR's subject is not acceptable: {detail}. Use a plain subject with one CN."


class CsrAsksForCa(CsrRefused):
    """``basicConstraints`` CA:TRUE."""

    code = "csr_asks_for_ca"
    sentence = "The CSR asks to be a certificate authority (CA:TRUE). A device gets a leaf: leave that out."


class CsrForeignName(CsrRefused):
    """A subject alternative name that is not the thing's own name; wildcards."""

    code = "csr_foreign_name"
    sentence = "The CSR asks for the name {found}. A device gets only its own name: leave the SAN out."


class CsrUsageRefused(CsrRefused):
    """Key usages or extended key usages that a device may not have."""

    code = "csr_usage_refused"
    sentence = (
        "The CSR asks for the usage {found}. A device gets digitalSignature and clientAuth: leave it out."
    )


class CsrExtensionRefused(CsrRefused):
    """An extension or attribute that no device profile gives."""

    code = "csr_extension_refused"
    sentence = "The CSR carries {found}, which no device certificate has. Leave it out."
