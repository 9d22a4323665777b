"""The embedded certificate authority.

::

    root ── device intermediate (clientAuth) ── device leaves
      └──── server intermediate (serverAuth) ── the service's own leaf

``open_authority`` makes the material on first start and loads it on every other; the result implements the
port ``CertificateAuthority``. ``ServiceIdentity`` keeps the service's own certificate fresh while it runs.
Costs and choices: docs/adr/0006-embedded-ca.md.
"""

from keyborn.adapters.ca.authority import EmbeddedAuthority, open_authority
from keyborn.adapters.ca.describe import AuthorityCertificate, describe_authority
from keyborn.adapters.ca.material import Material, introduce_root, retire_root, switch_root
from keyborn.adapters.ca.notary import FolderNotary
from keyborn.adapters.ca.passphrase import read_passphrase
from keyborn.adapters.ca.service import ServiceIdentity
from keyborn.adapters.ca.service_names import ServiceName, host_names, service_names
from keyborn.adapters.ca.shown import ShownCertificates
from keyborn.adapters.ca.tls import LiveContext, ReloadedContexts, https_context

__all__ = [
    "AuthorityCertificate",
    "EmbeddedAuthority",
    "FolderNotary",
    "LiveContext",
    "Material",
    "ReloadedContexts",
    "ServiceIdentity",
    "ServiceName",
    "ShownCertificates",
    "describe_authority",
    "host_names",
    "https_context",
    "introduce_root",
    "open_authority",
    "read_passphrase",
    "retire_root",
    "service_names",
    "switch_root",
]
