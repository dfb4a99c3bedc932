"""Reading an object of S3 as a seekable file, by ranges."""

import io
from typing import Any

from cuvee.storage.s3 import carry_out, client, status_of

# Arrow reads a footer as the last 64 KiB; with them comes the file's size.
_TAIL_BYTES = 2**16
# What a sequential reader is given ahead: streamed, not held, so the longest only bounds what a dropped reader wastes.
_FIRST_WINDOW, _LONGEST_WINDOW = 2**23, 2**26
_PIECE_BYTES = 2**22


class RangedFile(io.RawIOBase):
    """An object as a seekable file, read by ranges; not for use by several threads at once.

    Opening takes one request, which brings the size and the last 64 KiB. A jump reads what is asked for and no more;
    who reads on is given a growing stretch in one stream. Memory: the last 64 KiB, and what a call returns.
    """

    def __init__(self, bucket: str, key: str) -> None:
        self.name = f"s3://{bucket}/{key}"
        self._bucket, self._key = bucket, key
        self._position = self._read_on = self._window = 0
        self._body: Any = None
        self._body_at = self._body_end = 0
        self._size, self._tail = carry_out(bucket, self._ending)

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; nothing is read. Raises ValueError for a negative position."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError(f"position {start + offset} is before the file")
        self._position = start + offset
        return self._position

    def readall(self) -> bytes:
        """Return the rest in one request."""
        return self.read(max(0, self._size - self._position)) or b""

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the file goes; return the number of bytes."""
        if self.closed:
            raise ValueError("the file is closed")
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._size - self._position)]
        done = 0
        tail_at = self._size - len(self._tail)
        while done < len(view):
            at = self._position
            if at >= tail_at:
                piece: bytes = self._tail[at - tail_at : at - tail_at + len(view) - done]
            else:
                wanted = min(len(view) - done, tail_at - at)
                piece = carry_out(self._bucket, lambda _, wanted=wanted: self._piece(wanted))  # type: ignore[misc]
            view[done : done + len(piece)] = piece
            done += len(piece)
            self._position += len(piece)
        return done

    def close(self) -> None:
        """Let go of the connection."""
        self._drop()
        super().close()

    def _ending(self, s3: Any) -> tuple[int, bytes]:
        """Return the size and the last bytes."""
        from botocore.exceptions import ClientError

        try:
            answer = s3.get_object(Bucket=self._bucket, Key=self._key, Range=f"bytes=-{_TAIL_BYTES}")
        except ClientError as error:
            if status_of(error) == 416:  # an empty object has no last byte
                return 0, b""
            raise
        tail = answer["Body"].read()
        size = int(answer.get("ContentRange", "").rpartition("/")[2] or len(tail))
        return size, tail[-_TAIL_BYTES:]

    def _piece(self, wanted: int) -> bytes:
        """Return at least one and at most `wanted` bytes at the position, from the stream that is open or a new one."""
        if self._body is None or self._body_at != self._position:
            self._start(wanted)
        try:
            piece: bytes = self._body.read(min(wanted, _PIECE_BYTES, self._body_end - self._body_at))
            if not piece:
                raise ConnectionError("the answer ended before its length")
        except BaseException:
            self._drop()
            raise
        self._body_at += len(piece)
        if self._body_at == self._body_end:
            self._body.read()  # sees the end, and gives the connection back
            self._drop()
        return piece

    def _start(self, wanted: int) -> None:
        """Open a stream at the position: of `wanted` bytes after a jump, of a growing stretch when reading on."""
        self._read_on = self._read_on + 1 if self._body_at == self._position else 0
        self._drop()
        # Once is chance: the last thin column of a row group lies before the first of the next.
        self._window = min(_LONGEST_WINDOW, max(_FIRST_WINDOW, self._window * 8)) if self._read_on > 1 else 0
        end = min(self._size - len(self._tail), self._position + max(wanted, self._window))
        answer = client().get_object(Bucket=self._bucket, Key=self._key, Range=f"bytes={self._position}-{end - 1}")
        total = answer.get("ContentRange", "").rpartition("/")[2]
        self._body, self._body_at, self._body_end = answer["Body"], self._position, end
        if total != str(self._size):
            self._drop()
            raise OSError(f"{self.name} changed while it was read")

    def _drop(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
