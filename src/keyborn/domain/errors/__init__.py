"""The error tree: everything Keyborn refuses or fails at, drawn once.

::

    KeybornError
    ├── InputError               the bytes are wrong                     HTTP 400, exit 1
    │   ├── MalformedRequest, InvalidThingName, ReservedThingName, InvalidCode, InvalidTopic …
    │   └── CsrRefused           one leaf per reason (see "certificate requests" below)
    ├── TooLarge                 more bytes than the limit               HTTP 413
    ├── Unauthenticated          no credential, or not one we know       HTTP 401
    ├── Forbidden                known, but not allowed                  HTTP 403
    ├── Conflict                 the registry says otherwise             HTTP 409
    ├── NotFound                 no such record                          HTTP 404
    ├── Throttled                too many failures                       HTTP 429 + Retry-After
    │   └── GroupRateExceeded    a group admits so many                  HTTP 429 + Retry-After
    ├── Queued                   others are first                        HTTP 429 + Retry-After
    ├── AwaitsApproval           a person has to decide                  HTTP 202 + Retry-After
    ├── Unavailable              cannot now, could later                 HTTP 503 + Retry-After
    │   └── AwsThrottled         a quota of the AWS account              HTTP 429 + Retry-After
    ├── DeviceError              the device side: files, trust, session  exit 1
    └── OperatorError            the operator's commands: data folder …  exit 1

Only these errors are public. Each leaf has a stable ``code`` and a ``sentence`` that says what happened and
what to do. Anything else that is raised is a fault of ours: the edge answers ``internal`` and says nothing
more. Each edge maps the tree once: ``http/problems.py`` to problem documents, ``cli/failures.py`` to exit
codes.
"""

from keyborn.domain.errors.agents import (
    AgentBroken as AgentBroken,
    AgentGone as AgentGone,
    AgentRefused as AgentRefused,
    AgentRunning as AgentRunning,
    InvalidLine as InvalidLine,
    RenewalNotDone as RenewalNotDone,
    SlowReader as SlowReader,
    TooMuchAtOnce as TooMuchAtOnce,
)
from keyborn.domain.errors.auditing import (
    AuditHeadMissing as AuditHeadMissing,
    AuditKeyDiffers as AuditKeyDiffers,
    ExportBroken as ExportBroken,
)
from keyborn.domain.errors.backups import (
    BackupDamaged as BackupDamaged,
    BackupElsewhere as BackupElsewhere,
    BackupExists as BackupExists,
    BackupTooNew as BackupTooNew,
    MirrorDamaged as MirrorDamaged,
    MirrorForeign as MirrorForeign,
    MirrorUnwritable as MirrorUnwritable,
    NothingToPrune as NothingToPrune,
    RegistryRolledBack as RegistryRolledBack,
    RestoreOccupied as RestoreOccupied,
    RevocationsMissing as RevocationsMissing,
)
from keyborn.domain.errors.clouds import (
    AwsCallFailed as AwsCallFailed,
    AwsCredentialsMissing as AwsCredentialsMissing,
    AwsCredentialsRefused as AwsCredentialsRefused,
    AwsDenied as AwsDenied,
    AwsPartsMissing as AwsPartsMissing,
    AwsProfileMissing as AwsProfileMissing,
    AwsRegionMissing as AwsRegionMissing,
    AwsUnreachable as AwsUnreachable,
    SessionLeftOpen as SessionLeftOpen,
    StackForeign as StackForeign,
    StackMissing as StackMissing,
    StackUnfinished as StackUnfinished,
)
from keyborn.domain.errors.deploying import (
    AwsAccountDiffers as AwsAccountDiffers,
    CodeBucketTaken as CodeBucketTaken,
    CodeDiffers as CodeDiffers,
    StackFailed as StackFailed,
    StackNotReady as StackNotReady,
    StackSlow as StackSlow,
    ThingNotCleared as ThingNotCleared,
)
from keyborn.domain.errors.devices import (
    ApprovalForeign as ApprovalForeign,
    ApprovalPending as ApprovalPending,
    BrokerUnreachable as BrokerUnreachable,
    BrokerUntrusted as BrokerUntrusted,
    ClockUnusable as ClockUnusable,
    EnrollmentRefused as EnrollmentRefused,
    FactoryCertificateUnusable as FactoryCertificateUnusable,
    FileNotPrivate as FileNotPrivate,
    HomeBusy as HomeBusy,
    HomeUnusable as HomeUnusable,
    IdentityTokenUnusable as IdentityTokenUnusable,
    InvalidSubject as InvalidSubject,
    KeyExists as KeyExists,
    KeyStoreUnsupported as KeyStoreUnsupported,
    KeyUnusable as KeyUnusable,
    MessageTooLarge as MessageTooLarge,
    MessageUnknown as MessageUnknown,
    NoIdentity as NoIdentity,
    NothingArrived as NothingArrived,
    OtherService as OtherService,
    OtherThing as OtherThing,
    OutboxFull as OutboxFull,
    OutboxUnusable as OutboxUnusable,
    ProofMissing as ProofMissing,
    PublishDenied as PublishDenied,
    RenewalRefused as RenewalRefused,
    ServiceUnreachable as ServiceUnreachable,
    SessionLost as SessionLost,
    SessionRefused as SessionRefused,
    SharedNotOffered as SharedNotOffered,
    SubscribeDenied as SubscribeDenied,
    ThingNameMissing as ThingNameMissing,
    UntrustedService as UntrustedService,
    WrongAnswer as WrongAnswer,
    WrongCertificate as WrongCertificate,
)
from keyborn.domain.errors.enrolling import (
    AwsConflict as AwsConflict,
    AwsOutage as AwsOutage,
    AwsQuotaReached as AwsQuotaReached,
    AwsRefused as AwsRefused,
    AwsThrottled as AwsThrottled,
    CaDates as CaDates,
    CredentialMissing as CredentialMissing,
    CredentialRefused as CredentialRefused,
    EnrollmentInterrupted as EnrollmentInterrupted,
    GenericNameRefused as GenericNameRefused,
    KeyInUse as KeyInUse,
    KeyRevoked as KeyRevoked,
    NameNotPermitted as NameNotPermitted,
    OpenEnrollmentRefused as OpenEnrollmentRefused,
    Overloaded as Overloaded,
    RegistryUnavailable as RegistryUnavailable,
    ReplacementPending as ReplacementPending,
    Stopping as Stopping,
    ThingNameCase as ThingNameCase,
    ThingNameTaken as ThingNameTaken,
    ThingRevoked as ThingRevoked,
    TokenExhausted as TokenExhausted,
    TokenExpired as TokenExpired,
)
from keyborn.domain.errors.federating import (
    IdTokenAudience as IdTokenAudience,
    IdTokenClaim as IdTokenClaim,
    IdTokenExpired as IdTokenExpired,
    IdTokenIssuer as IdTokenIssuer,
    IdTokenLifetime as IdTokenLifetime,
    IdTokenMalformed as IdTokenMalformed,
    IdTokenNotYet as IdTokenNotYet,
    IdTokenUnproved as IdTokenUnproved,
    IdTokenUsed as IdTokenUsed,
)
from keyborn.domain.errors.grouping import (
    ApprovalAmbiguous as ApprovalAmbiguous,
    ApprovalRefused as ApprovalRefused,
    ApprovalsFull as ApprovalsFull,
    AttributeNotPermitted as AttributeNotPermitted,
    AwaitsApproval as AwaitsApproval,
    CredentialNameUnfit as CredentialNameUnfit,
    FactoryExpired as FactoryExpired,
    FactoryNotYet as FactoryNotYet,
    FactoryRefused as FactoryRefused,
    GroupClosed as GroupClosed,
    GroupDiffers as GroupDiffers,
    GroupFull as GroupFull,
    GroupKeyExpired as GroupKeyExpired,
    GroupKeyRefused as GroupKeyRefused,
    GroupKeyUsedUp as GroupKeyUsedUp,
    GroupMissing as GroupMissing,
    GroupNetworkRefused as GroupNetworkRefused,
    GroupNotOpen as GroupNotOpen,
    GroupRateExceeded as GroupRateExceeded,
    GroupUnknown as GroupUnknown,
    InvalidGroupKey as InvalidGroupKey,
    IssuerUnavailable as IssuerUnavailable,
    KeyNotRegistered as KeyNotRegistered,
    KeyWordsDiffer as KeyWordsDiffer,
    MethodNotAccepted as MethodNotAccepted,
    NameNotInGroup as NameNotInGroup,
    NotRegistered as NotRegistered,
    WebhookRefused as WebhookRefused,
    WebhookUnavailable as WebhookUnavailable,
)
from keyborn.domain.errors.inputs import (
    InvalidCode as InvalidCode,
    InvalidGroup as InvalidGroup,
    InvalidGroupName as InvalidGroupName,
    InvalidKeyHash as InvalidKeyHash,
    InvalidPolicy as InvalidPolicy,
    InvalidPolicyName as InvalidPolicyName,
    InvalidSetting as InvalidSetting,
    InvalidThingName as InvalidThingName,
    InvalidTopic as InvalidTopic,
    MalformedRequest as MalformedRequest,
    PolicyNameTooLong as PolicyNameTooLong,
    ReservedThingName as ReservedThingName,
)
from keyborn.domain.errors.keeping import (
    BrokerUnwritable as BrokerUnwritable,
    CertificateNotHeld as CertificateNotHeld,
    KindMismatch as KindMismatch,
    PolicyInUse as PolicyInUse,
    SearchTooWide as SearchTooWide,
    TooManyPolicies as TooManyPolicies,
)
from keyborn.domain.errors.keys import (
    ApiKeyExpired as ApiKeyExpired,
    ApiKeyMissing as ApiKeyMissing,
    ApiKeyRefused as ApiKeyRefused,
    InvalidApiKey as InvalidApiKey,
    LocalOnly as LocalOnly,
    NotRemote as NotRemote,
    RemoteAnswer as RemoteAnswer,
    RemoteUnreachable as RemoteUnreachable,
    RemoteUntrusted as RemoteUntrusted,
    RoleTooLow as RoleTooLow,
)
from keyborn.domain.errors.operators import (
    AddressUnavailable as AddressUnavailable,
    AuditBroken as AuditBroken,
    BrokerFileUnusable as BrokerFileUnusable,
    CaDamaged as CaDamaged,
    CaExpired as CaExpired,
    CaExposed as CaExposed,
    CaFileTrouble as CaFileTrouble,
    CaLocked as CaLocked,
    CaMissing as CaMissing,
    DataFolderInUse as DataFolderInUse,
    DataFolderMissing as DataFolderMissing,
    DataFolderUnsafe as DataFolderUnsafe,
    IdentityTakenAway as IdentityTakenAway,
    ImportFileUnusable as ImportFileUnusable,
    ImportIncomplete as ImportIncomplete,
    ImportRefused as ImportRefused,
    ImportStopped as ImportStopped,
    PackageNotBuilt as PackageNotBuilt,
    RegistryTooNew as RegistryTooNew,
    RegistryUnusable as RegistryUnusable,
    ServerNotRunning as ServerNotRunning,
    ServerPartsMissing as ServerPartsMissing,
    ServerStopped as ServerStopped,
    SystemTrouble as SystemTrouble,
    UnexpectedVerdict as UnexpectedVerdict,
)
from keyborn.domain.errors.proxies import (
    ClientCertificateRefused as ClientCertificateRefused,
    ProxyUntrusted as ProxyUntrusted,
)
from keyborn.domain.errors.renewing import (
    BadNonce as BadNonce,
    CertificateExpired as CertificateExpired,
    CertificateNotActive as CertificateNotActive,
    JwsMalformed as JwsMalformed,
    KeyNotNew as KeyNotNew,
    RenewalPending as RenewalPending,
    RenewalUnconfirmed as RenewalUnconfirmed,
    SignatureRefused as SignatureRefused,
    SignedForElsewhere as SignedForElsewhere,
)
from keyborn.domain.errors.requests import (
    ClosePrimes as ClosePrimes,
    CsrAsksForCa as CsrAsksForCa,
    CsrBadSignature as CsrBadSignature,
    CsrExtensionRefused as CsrExtensionRefused,
    CsrForeignName as CsrForeignName,
    CsrMalformed as CsrMalformed,
    CsrNameMismatch as CsrNameMismatch,
    CsrRefused as CsrRefused,
    CsrSubjectRefused as CsrSubjectRefused,
    CsrTooLarge as CsrTooLarge,
    CsrUsageRefused as CsrUsageRefused,
    CsrWeakSignature as CsrWeakSignature,
    KeySizeRefused as KeySizeRefused,
    KeyTypeRefused as KeyTypeRefused,
    RocaKey as RocaKey,
    SmallFactor as SmallFactor,
    WeakExponent as WeakExponent,
    WeakKey as WeakKey,
)
from keyborn.domain.errors.roots import (
    NoNextRoot as NoNextRoot,
    NoOldRoot as NoOldRoot,
    OldRootInUse as OldRootInUse,
    OldRootThere as OldRootThere,
    RootsLacking as RootsLacking,
)
from keyborn.domain.errors.smoking import (
    AssumptionsDiffer as AssumptionsDiffer,
    SmokeLeftovers as SmokeLeftovers,
)
from keyborn.domain.errors.tree import (
    Conflict as Conflict,
    DeviceError as DeviceError,
    Forbidden as Forbidden,
    InputError as InputError,
    KeybornError as KeybornError,
    NotFound as NotFound,
    OperatorError as OperatorError,
    Queued as Queued,
    Throttled as Throttled,
    TooLarge as TooLarge,
    Unauthenticated as Unauthenticated,
    Unavailable as Unavailable,
)
