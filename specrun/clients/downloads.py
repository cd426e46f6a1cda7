"""A file from a server: into `<name>.part`, continued after a lost connection, whole under its name."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from specrun.clients.http import Answer, Http, Request

Progress = Callable[[int, int | None], None]
"""Bytes so far and in all (None: unknown)."""
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def download(http: Http, request: Request, target: Path, progress: Progress | None = None) -> Answer:
    """The answer without its content, which is in `target` if the status is 200.

    What an earlier call left in the part file is not trusted: the server may have made the file anew since.
    Raises what `Http.send` raises.
    """
    request = replace(request, long=True)
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)
    tag = ""  # of the content that the part file holds the beginning of

    def attempt() -> Answer:
        nonlocal tag
        held = part.stat().st_size if part.exists() and tag else 0
        asked = (
            replace(request, headers={**request.headers, "Range": f"bytes={held}-", "If-Range": tag})
            if held
            else request
        )
        with http.opened(asked) as (answer, blocks):
            if answer.status >= 300:
                return replace(answer, body=b"".join(blocks))
            begin = _begin(answer) if held else 0
            if begin not in (0, held):  # another part than was asked for: from the start, at the next attempt
                tag = ""
                return replace(answer, status=503)
            tag = _tag(answer)
            total = _total(answer, begin)
            with open(part, "ab" if begin else "wb") as file:
                done = begin
                for block in blocks:
                    file.write(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
            return answer

    answer = http.attempts(request, attempt)
    if answer.status < 300:
        os.replace(part, target)
        return replace(answer, status=200)
    if answer.status == 416:
        part.unlink(missing_ok=True)
    return answer


def _tag(answer: Answer) -> str:
    """What `If-Range` may name; a weak tag may not."""
    tag = answer.headers.get("etag", "")
    return answer.headers.get("last-modified", "") if not tag or tag.startswith("W/") else tag


def _begin(answer: Answer) -> int:
    """Where the content begins: not at 0 only for partial content."""
    found = _RANGE.fullmatch(answer.headers.get("content-range", "").strip())
    return int(found.group(1)) if answer.status == 206 and found else 0


def _total(answer: Answer, begin: int) -> int | None:
    length = answer.headers.get("content-length", "")
    return begin + int(length) if length.isdecimal() and "content-encoding" not in answer.headers else None
