"""Answers of caption servers, as far as they are answers."""

from __future__ import annotations

from typing import Any

from specrun.clients.http import Answer, redacted
from specrun.errors import CredentialsError, NodeError, TransientError

_SHOWN = 200


def json_of(answer: Answer, host: str, secret: str | None, remedy: str) -> Any:
    """The JSON of a good answer. remedy: what to check when it is none.

    Raises CredentialsError, TransientError (busy in spite of all attempts), NodeError.
    """
    if answer.status in (401, 403):
        said = told(answer, secret)
        raise CredentialsError(f"{host}: refuses the token{said}", hint="Check the connection's token and its rights.")
    if answer.status == 429 or answer.status >= 500:
        raise TransientError(f"{host}: answers {answer.status}{told(answer, secret)}", hint="Try again later.")
    if answer.status != 200:
        raise NodeError(f"{host}: answers {answer.status}{told(answer, secret)}", hint=remedy)
    if is_page(answer):
        raise NodeError(f"{host}: answers with a web page and not with a caption.", hint=remedy)
    try:
        return answer.json()
    except ValueError:
        raise NodeError(f"{host}: answers with something that is no JSON.", hint=remedy) from None


def nonsense(host: str, answer: Any, remedy: str) -> NodeError:
    """JSON, but without a caption in it."""
    keys = printable(", ".join(map(str, answer)))[:_SHOWN] if isinstance(answer, dict) else ""
    return NodeError(f"{host}: its answer holds no caption{f' (it has {keys})' if keys else ''}.", hint=remedy)


def told(answer: Answer, secret: str | None) -> str:
    """`: what the server said`, or nothing."""
    if is_page(answer):
        return " with a web page"
    try:
        said = answer.json()
    except ValueError:
        said = None
    while isinstance(said, dict):
        said = said.get("error") or said.get("message") or said.get("detail")
    text = printable(redacted(str(said), [secret]))[:_SHOWN] if isinstance(said, str) else ""
    return f": {text}" if text else ""


def is_page(answer: Answer) -> bool:
    start = answer.body[:200].lstrip().lower()
    return "text/html" in answer.headers.get("content-type", "") or start.startswith((b"<!doctype", b"<html"))


def printable(text: str) -> str:
    """On one line, without characters that could do something to a terminal."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())
