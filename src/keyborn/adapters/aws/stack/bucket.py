"""The bucket that holds the functions' code: private, encrypted, one for an account and a region.

Its contents are named by their digest, so that it needs no versions, and what is there is not sent again: if
Amazon S3 says that it is that. Nothing here is trusted for being here; who deploys compares what Lambda runs.
"""

import json
from collections.abc import Iterator
from typing import Any

from keyborn.adapters.aws.calls import Expected
from keyborn.adapters.aws.package import sha256_of
from keyborn.adapters.aws.stack.orders import Orders, Place
from keyborn.domain.errors import CodeBucketTaken

_MISSING = ("404", "NoSuchBucket", "NoSuchKey", "NotFound")
_FORBIDDEN = ("403", "AccessDenied", "Forbidden")
_TAG = {"Key": "keyborn:bucket", "Value": "code"}
_NO_LOCATION = "us-east-1"
"""The one region that CreateBucket does not take by name (Amazon S3 API Reference, CreateBucket)."""
_AT_ONCE = 1000


class CodeBucket:
    """One bucket, whether it is there or not."""

    def __init__(self, orders: Orders, place: Place) -> None:
        self.name = f"keyborn-{place.account}-{place.region}"
        self._orders = orders
        self._place = place
        self._ours: dict[str, Any] = {"Bucket": self.name, "ExpectedBucketOwner": place.account}

    def exists(self) -> bool:
        """Whether it is there and ours; raises CodeBucketTaken."""
        try:
            self._orders.ask("s3", "HeadBucket", expected=_MISSING + _FORBIDDEN, **self._ours)
        except Expected as answer:
            if answer.code in _FORBIDDEN:
                raise CodeBucketTaken(bucket=self.name) from None
            return False
        return True

    def make(self) -> None:
        """Make it, or complete what an interrupted command began; the tag comes last and says it is done.

        Raises CodeBucketTaken for one that is not ours: without the tag, and not empty.
        """
        if not self.exists():
            there = {"LocationConstraint": self._place.region}
            where = {} if self._place.region == _NO_LOCATION else {"CreateBucketConfiguration": there}
            self._order("CreateBucket", Bucket=self.name, ObjectOwnership="BucketOwnerEnforced", **where)
        elif self.is_ours():
            return
        elif next(self._keys(), None) is not None:
            raise CodeBucketTaken(bucket=self.name)
        closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
        mine = self._ours
        self._order(
            "PutPublicAccessBlock", PublicAccessBlockConfiguration=dict.fromkeys(closed, True), **mine
        )
        self._order("PutBucketEncryption", ServerSideEncryptionConfiguration={"Rules": [rule]}, **mine)
        self._order("PutBucketPolicy", Policy=json.dumps(self._tls_only()), **mine)
        self._order("PutBucketTagging", Tagging={"TagSet": [_TAG]}, **mine)

    def is_ours(self) -> bool:
        """Whether it is there and carries our tag; what does not was made by somebody else, or half made."""
        try:
            found = self._orders.ask(
                "s3", "GetBucketTagging", expected={"NoSuchTagSet", *_MISSING}, **self._ours
            )
        except Expected:
            return False
        return _TAG in found["TagSet"]

    def _tls_only(self) -> dict[str, object]:
        arn = f"arn:{self._place.partition}:s3:::{self.name}"
        statement = {
            "Sid": "OnlyOverTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [arn, f"{arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
        return {"Version": "2012-10-17", "Statement": [statement]}

    def holds(self, key: str, sha256: str) -> bool:
        """Whether what lies under ``key`` has this SHA-256, base64, by Amazon S3's own word."""
        try:
            found = self._orders.ask(
                "s3", "HeadObject", expected=_MISSING, Key=key, ChecksumMode="ENABLED", **self._ours
            )
        except Expected:
            return False
        return found.get("ChecksumSHA256") == sha256

    def put(self, key: str, data: bytes) -> bool:
        """Keep ``data`` under a key; whether it was sent. What lies there and is not that is written over."""
        sha256 = sha256_of(data)
        if self.holds(key, sha256):
            return False
        self._order("PutObject", Key=key, Body=data, ChecksumSHA256=sha256, **self._ours)
        return True

    def read(self, key: str) -> bytes:
        """What lies there."""
        data: bytes = self._orders.ask("s3", "GetObject", Key=key, **self._ours)["Body"].read()
        return data

    def remove(self) -> None:
        """Empty it and delete it. Only for one that is ours."""
        batch: list[dict[str, str]] = []
        for key in list(self._keys()):
            batch.append({"Key": key})
            if len(batch) == _AT_ONCE:
                self._delete(batch)
                batch = []
        self._delete(batch)
        try:
            self._orders.ask("s3", "DeleteBucket", expected=_MISSING, **self._ours)
        except Expected:
            return

    def _delete(self, batch: list[dict[str, str]]) -> None:
        if batch:
            self._order("DeleteObjects", Delete={"Objects": batch, "Quiet": True}, **self._ours)

    def _keys(self) -> Iterator[str]:
        mark = ("ContinuationToken", "NextContinuationToken")
        for one in self._orders.pages("s3", "ListObjectsV2", "Contents", mark=mark, **self._ours):
            yield one["Key"]

    def _order(self, operation: str, **parameters: Any) -> None:  # noqa: ANN401 - as botocore takes them
        self._orders.ask("s3", operation, **parameters)
