"""S3 as everything here speaks it: one client, patience with faults, errors in our words, listings.

Whoever talks to S3 goes through `carry_out`, so that a fault that passes is waited for, and one that does not is told
at once with the bucket, the endpoint and what to do.
"""

import logging
import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from cuvee.schemas.address import bucket_and_key, is_bucket
from cuvee.schemas.errors import ConflictError, CuveeError, RecipeError, RetryableError

T = TypeVar("T")

LOGGER = logging.getLogger("cuvee.storage")

# Seconds that one call is tried for; long enough for a restarted gateway, short enough to tell somebody in time.
PATIENCE_S = 150.0
_LONGEST_PAUSE_S = 15.0
# A pause is told from this length on: the first few are over before anybody could read of them.
_TOLD_PAUSE_S = 1.0

# Faults that pass, although their status says that the request was wrong.
_PASSING = {"BadDigest", "ConditionalRequestConflict", "IncompleteBody", "OperationAborted", "RequestThrottled"} | {
    "RequestTimeout",
    "TemporaryRedirect",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequests",
    "XAmzContentSHA256Mismatch",
}
_PERMISSIONS = "s3:ListBucket on the bucket and s3:GetObject, s3:PutObject, s3:DeleteObject on its objects"
_REGION = "the bucket is in another region; set AWS_REGION to the bucket's"
_REFUSED = {
    "NoSuchBucket": "there is no such bucket; create it, or correct the address",
    "AccessDenied": f"access is denied; these credentials need {_PERMISSIONS}",
    "403": f"access is denied; these credentials need {_PERMISSIONS}",
    "InvalidAccessKeyId": "the server does not know the access key; correct AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is not the access key's; correct AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": "the session token has expired; sign in again",
    "InvalidToken": "the session token is not valid; sign in again",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "PermanentRedirect": _REGION,
    "301": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": "the server lacks this part of S3; use another server",
}


class Stored(NamedTuple):
    """One object as a listing tells it. size: bytes; etag: without quotes."""

    key: str
    size: int
    etag: str
    last_modified: datetime


def parse_address(address: str) -> tuple[str, str]:
    """Split s3://bucket/some/key into bucket and key, which may be empty; raises RecipeError without a bucket."""
    bucket, key = bucket_and_key(address)
    if not is_bucket(address) or not bucket:
        raise RecipeError(f"{address}: write it as s3://bucket/prefix")
    return bucket, key


def client() -> Any:
    """Return the boto3 client for the environment as it is now: one a process, shared by its threads.

    Credentials, region, profile and endpoint come from the usual chain (AWS_* variables, ~/.aws, roles).
    """
    settings = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_")))
    # After a fork the child makes its own: a socket must not be shared.
    return _client(os.getpid(), patience_s(), settings)


@lru_cache(maxsize=2)
def _client(process: int, patience: float, settings: tuple[tuple[str, str], ...]) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(
        # `carry_out` tries again; botocore's own attempts would multiply with it.
        retries={"mode": "standard", "total_max_attempts": 1},
        connect_timeout=min(10.0, patience / 3),
        read_timeout=min(60.0, patience / 3),
        max_pool_connections=64,
        tcp_keepalive=True,
        # Content-MD5, which every server checks, is sent instead: many refuse newer checksums or chunked bodies.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        user_agent_extra="cuvee",
    )
    made = boto3.Session().client("s3", config=config)
    made.meta.events.register_first("needs-retry.s3", _stay)
    return made


def _stay(request_dict: dict[str, Any], **_: Any) -> None:
    """Tell botocore that it has looked for the bucket's region already.

    Other readers would not find it there, and where every answer is a redirection botocore would ask without end.
    """
    request_dict["context"].setdefault("s3_redirect", {})["redirected"] = True


def patience_s() -> float:
    """Return the seconds that one call is tried for: $CUVEE_S3_PATIENCE_S, else 150; raises RecipeError."""
    given = os.environ.get("CUVEE_S3_PATIENCE_S", "")
    try:
        seconds = float(given or PATIENCE_S)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise RecipeError(f"CUVEE_S3_PATIENCE_S={given}: give a number of seconds above 0")
    return seconds


def carry_out(bucket: str, work: Callable[[Any], T], patience: float | None = None) -> T:
    """Return work(client), begun again after faults that pass until `patience` seconds are over.

    bucket: for messages. work: takes the boto3 client, and may be called several times.
    patience: default `patience_s()`; 0 tries once.
    Raises FileNotFoundError for an absent key, ConflictError where a condition did not hold, RecipeError at once for
    what waiting does not mend (credentials, permissions, bucket, region), RetryableError when patience is over.
    No exception of boto3 leaves this function.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    began, attempt = time.monotonic(), 0
    patience = patience_s() if patience is None else patience
    while True:
        try:
            return work(client())
        except (BotoCoreError, ClientError, HTTPError, ConnectionError, TimeoutError) as error:
            fault = _translated(error, bucket)
            if not isinstance(fault, RetryableError):
                raise fault from None
        attempt += 1
        # Full-range jitter spreads the threads that the same fault stopped.
        pause = random.uniform(0.5, 1.0) * min(_LONGEST_PAUSE_S, 0.1 * 2**attempt)
        left = patience - (time.monotonic() - began)
        if pause > left:
            raise RetryableError(
                f"{fault} (tried {attempt} times in {time.monotonic() - began:.0f} s); what was done is kept: see that "
                "the server answers, and run it again"
            ) from None
        if pause >= _TOLD_PAUSE_S:
            LOGGER.warning("%s; trying again in %.0f s, for %.0f s more", fault, pause, left)
        time.sleep(pause)


def listing(bucket: str, prefix: str) -> Iterator[Stored]:
    """Yield the objects whose keys start with a prefix, in the server's order (S3's is by the keys' bytes)."""
    arguments = {"Bucket": bucket, "Prefix": prefix}
    while True:
        try:
            page = carry_out(bucket, lambda s3: s3.list_objects_v2(**arguments))
        except FileNotFoundError:
            raise RecipeError(
                f"s3://{bucket} ({_endpoint()}): what answers there is no S3 server, it knows no listing (404); "
                "correct AWS_ENDPOINT_URL"
            ) from None
        for found in page.get("Contents", ()):
            yield Stored(found["Key"], found["Size"], found["ETag"].strip('"'), found["LastModified"])
        if not page.get("IsTruncated"):
            return
        arguments["ContinuationToken"] = page["NextContinuationToken"]


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that the server answered with, None if it did not answer."""
    answer = getattr(error, "response", None)
    return int(answer["ResponseMetadata"].get("HTTPStatusCode", 0)) if isinstance(answer, dict) else None


def _translated(error: Exception, bucket: str) -> Exception:
    """Say an error of boto3 in our words; RetryableError stands for all faults that may pass."""
    import botocore.exceptions as boto

    status = status_of(error)
    if status is None:
        place = f"s3://{bucket} ({_endpoint()})"
        if isinstance(error, boto.SSLError) and "CERTIFICATE" in str(error).upper():
            return RecipeError(f"{place}: its certificate is not trusted here; set AWS_CA_BUNDLE: {error}")
        passing = (boto.HTTPClientError, boto.ConnectionError, boto.IncompleteReadError, boto.ChecksumError)
        if isinstance(error, passing) or not isinstance(error, boto.BotoCoreError) or "Parser" in type(error).__name__:
            return RetryableError(f"{place} {_silence(error)}")
        if isinstance(error, boto.NoCredentialsError | boto.PartialCredentialsError):
            advice = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
            return RecipeError(f"{place}: no complete credentials were found; {advice}")
        return RecipeError(f"{place}: {error}; correct the AWS settings (AWS_* variables, ~/.aws)")
    answer: Any = error.response["Error"]  # type: ignore[attr-defined]
    code, words = str(answer.get("Code", "")), str(answer.get("Message") or "").strip()
    said = f"{status} {code}: {words}" if words else f"{status} {code}"
    if status == 404 and code != "NoSuchBucket":
        return FileNotFoundError(str(answer.get("Key") or f"s3://{bucket}: no such key"))
    place = f"s3://{bucket} ({_endpoint()})"
    if status == 412:
        return ConflictError(f"{place}: the condition of the call does not hold")
    if code in _PASSING or status == 429 or (status >= 500 and status != 501):
        return RetryableError(f"{place} answers {said}")
    advice = _REFUSED.get(code, "correct the address or the AWS settings")
    headers: Any = error.response["ResponseMetadata"].get("HTTPHeaders", {})  # type: ignore[attr-defined]
    if region := headers.get("x-amz-bucket-region") if status in (301, 307, 400) else None:
        advice = f"the bucket is in another region; set AWS_REGION={region}"
    elif status in (301, 302, 307, 308) and headers.get("location"):
        advice = f"the endpoint redirects to {headers['location']}; set AWS_ENDPOINT_URL to where S3 itself answers"
    return RecipeError(f"{place}: {advice} (it answers {said})")


def _silence(error: Exception) -> str:
    """Say how a server failed to answer; the words of botocore repeat the address."""
    import botocore.exceptions as boto

    if isinstance(error, boto.ConnectTimeoutError | boto.ReadTimeoutError):
        return "does not answer in time"
    if isinstance(error, boto.EndpointConnectionError):
        return "cannot be reached"
    if isinstance(error, boto.ConnectionClosedError):
        return "closes the connection before it answers"
    return f"breaks off its answer: {error}"


def _endpoint() -> str:
    from botocore.exceptions import BotoCoreError

    try:
        return str(client().meta.endpoint_url)
    except (BotoCoreError, CuveeError, ValueError):  # the settings themselves are wrong
        return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"
