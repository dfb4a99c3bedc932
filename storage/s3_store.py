"""A store below a prefix of an S3 bucket, or of any server that speaks S3."""

import base64
import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

from cuvee.schemas.errors import ConflictError, CuveeError, RecipeError, RetryableError
from cuvee.storage.ranged import RangedFile
from cuvee.storage.s3 import carry_out, listing, parse_address
from cuvee.storage.s3 import client as s3_client
from cuvee.storage.store import Access

# One request up to here, parts of this size above: a part is what a fault makes to be sent again, and is held in
# memory, four at a time.
PART_BYTES = 16 * 2**20
_MOST_PARTS = 10_000
_PARTS_AT_ONCE = 4
# The name under which an object tells which call created it.
_WRITER = "cuvee-writer"


class S3Store:
    """Objects below s3://bucket/prefix. It holds names only, so it may go to other threads and processes."""

    remote = True

    def __init__(self, uri: str) -> None:
        self.bucket, prefix = parse_address(uri)
        prefix = prefix.strip("/")
        self.prefix = f"{prefix}/" if prefix else ""
        self.uri = f"s3://{self.bucket}/{prefix}".rstrip("/")

    def get(self, key: str) -> bytes:
        """Return the bytes; raises FileNotFoundError."""
        return carry_out(self.bucket, lambda s3: cast(bytes, s3.get_object(**self._at(key))["Body"].read()))

    def open(self, key: str) -> BinaryIO:
        """Open for reading by ranges; raises FileNotFoundError."""
        return cast(BinaryIO, RangedFile(self.bucket, self.prefix + key))

    def put(self, key: str, content: bytes) -> None:
        """Write or replace."""
        carry_out(self.bucket, lambda s3: s3.put_object(**self._at(key), Body=content, ContentMD5=_md5(content)))

    def create(self, key: str, content: bytes) -> None:
        """Write only if absent: the server compares and writes in one step; raises ConflictError.

        An attempt of ours may have written though we are told of a conflict: its answer was lost, or a proxy sent it
        twice. So each call leaves a name of its own with the object, and an object with this name is a success.
        """
        own = {_WRITER: uuid4().hex}
        more = {"Body": content, "ContentMD5": _md5(content), "IfNoneMatch": "*", "Metadata": own}
        try:
            carry_out(self.bucket, lambda s3: s3.put_object(**self._at(key), **more))
        except ConflictError:
            if self._metadata(key) != own:
                raise ConflictError(f"{key} exists already: another run wrote it first; read again and redo") from None

    def put_file(self, key: str, path: Path) -> None:
        """Move a local file into the store, in parts when it is large; a part that fails is sent again alone."""
        size = path.stat().st_size
        if size <= PART_BYTES:
            self.put(key, path.read_bytes())
        else:
            self._upload(key, path, size)
        path.unlink()

    def size(self, key: str) -> int | None:
        """Return the bytes under the key, None if absent."""
        try:
            return carry_out(self.bucket, lambda s3: int(s3.head_object(**self._at(key))["ContentLength"]))
        except FileNotFoundError:
            return None

    def keys(self, prefix: str) -> list[str]:
        """List the keys below a prefix, sorted."""
        return sorted(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """Return the bytes under each key below a prefix: one request for a thousand keys."""
        found = listing(self.bucket, self.prefix + prefix)
        # Consoles mark a folder by an empty object whose key ends with a slash.
        return {entry.key.removeprefix(self.prefix): entry.size for entry in found if not entry.key.endswith("/")}

    def delete(self, key: str) -> None:
        """Remove the key; absent is no error."""
        with suppress(FileNotFoundError):
            carry_out(self.bucket, lambda s3: s3.delete_object(**self._at(key)))

    def location(self, key: str) -> str:
        """Return the object's s3:// URL."""
        return f"{self.uri}/{key}"

    def access(self) -> Access:
        """Return polars' options and a pyarrow file system with the credentials and the endpoint of boto3's chain."""
        return access()

    def scratch(self) -> Path:
        """Return a local folder of this store: below $CUVEE_SCRATCH, else in the system's temporary folder."""
        given = os.environ.get("CUVEE_SCRATCH")
        top = Path(given) if given else Path(tempfile.gettempdir()) / f"cuvee-{os.getuid()}"
        folder = top / hashlib.sha256(self.uri.encode()).hexdigest()[:16] / "tmp"
        top.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not given and top.stat().st_uid != os.getuid():
            raise RecipeError(f"{top} is another user's; set CUVEE_SCRATCH to a folder of your own")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.prefix + key}

    def _metadata(self, key: str) -> dict[str, str]:
        """Return what a writer left with an object, nothing when it is gone."""
        with suppress(FileNotFoundError):
            found = carry_out(self.bucket, lambda s3: s3.head_object(**self._at(key))["Metadata"])
            return {name.lower(): value for name, value in found.items()}
        return {}

    def _upload(self, key: str, path: Path, size: int) -> None:
        """Send a file in parts, each with its checksum; an upload that fails is aborted."""
        at = self._at(key)
        length = max(PART_BYTES, -(-size // _MOST_PARTS))
        count = -(-size // length)
        upload = {**at, "UploadId": carry_out(self.bucket, lambda s3: s3.create_multipart_upload(**at))["UploadId"]}

        def send(number: int) -> dict[str, Any]:
            with path.open("rb") as file:
                file.seek((number - 1) * length)
                part = file.read(length)
            arguments = {**upload, "PartNumber": number, "Body": part, "ContentMD5": _md5(part)}
            return {
                "PartNumber": number,
                "ETag": carry_out(self.bucket, lambda s3: s3.upload_part(**arguments))["ETag"],
            }

        try:
            with ThreadPoolExecutor(_PARTS_AT_ONCE) as senders:
                parts = list(senders.map(send, range(1, count + 1)))
            self._complete(upload, parts, size)
        except BaseException:
            with suppress(CuveeError, FileNotFoundError):
                carry_out(self.bucket, lambda s3: s3.abort_multipart_upload(**upload), patience=0)
            raise

    def _complete(self, upload: dict[str, str], parts: list[dict[str, Any]], size: int) -> None:
        try:
            carry_out(self.bucket, lambda s3: s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts}))
        except FileNotFoundError:
            # The upload is gone: it was completed and the answer lost, or somebody aborted it.
            found = [entry for entry in listing(self.bucket, upload["Key"]) if entry.key == upload["Key"]]
            if [(entry.size, entry.etag.rpartition("-")[2]) for entry in found] != [(size, str(len(parts)))]:
                gone = f"{self.uri}: the upload of {upload['Key']} was aborted by somebody else; run it again"
                raise RetryableError(gone) from None


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def access() -> Access:
    """Return what polars and pyarrow need to read from S3 as boto3 does; raises RecipeError without credentials."""
    from pyarrow.fs import S3FileSystem

    s3 = s3_client()
    endpoint, region = str(s3.meta.endpoint_url), s3.meta.region_name or "us-east-1"
    style = (s3.meta.config.s3 or {}).get("addressing_style")
    keys, _ = credentials()
    polars: dict[str, Any] = {"aws_region": region}
    arrow: dict[str, Any] = {"region": region}
    if not _is_amazon(endpoint):
        polars |= {
            "aws_endpoint_url": endpoint,
            "aws_allow_http": str(endpoint.startswith("http://")).lower(),
            "aws_virtual_hosted_style_request": str(style == "virtual").lower(),
        }
        scheme, _, host = endpoint.partition("://")
        arrow |= {"endpoint_override": host, "scheme": scheme, "force_virtual_addressing": style == "virtual"}
    # Where a machine's role gives the credentials, pyarrow asks for them itself, and again before they expire.
    if s3._request_signer._credentials.method not in _ROLES:
        arrow |= {
            "access_key": keys["aws_access_key_id"],
            "secret_key": keys["aws_secret_access_key"],
            "session_token": keys.get("aws_session_token"),
        }
    # A function of its own for each caller: polars keeps what it once got from one.
    return Access({"storage_options": polars, "credential_provider": partial(credentials)}, S3FileSystem(**arrow))


# As botocore names the ways credentials come; these are renewed, and pyarrow knows them too.
_ROLES = frozenset({"iam-role", "container-role", "assume-role-with-web-identity"})


def credentials() -> tuple[dict[str, str | None], int | None]:
    """Return the keys that boto3 uses now, under polars' names, and the second of the epoch when they expire."""
    found = s3_client()._request_signer._credentials
    if found is None:
        raise RecipeError(
            "no credentials for S3 were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    frozen = found.get_frozen_credentials()
    keys = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
    if frozen.token:
        keys["aws_session_token"] = frozen.token
    expiry = getattr(found, "_expiry_time", None)
    return keys, int(expiry.timestamp()) if expiry else None


def _is_amazon(endpoint: str) -> bool:
    """Tell whether an endpoint is AWS's own public one, which readers find by the region."""
    host = endpoint.partition("://")[2]
    return host.startswith("s3") and host.endswith((".amazonaws.com", ".amazonaws.com.cn"))
