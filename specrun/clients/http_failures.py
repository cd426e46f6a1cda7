"""Why a request got no answer, in a person's words."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from specrun.errors import NodeError, TransientError


class Lost(Exception):
    """One attempt without an answer. unsent: the server cannot have seen the request. passing: worth another try."""

    def __init__(self, words: str, *, unsent: bool = False, passing: bool = True, hint: str | None = None) -> None:
        super().__init__(words)
        self.words, self.unsent, self.passing, self.hint = words, unsent, passing, hint


@contextmanager
def lost_from() -> Iterator[None]:
    """What urllib3 raises becomes Lost."""
    from urllib3 import exceptions  # only who asks a server pays for it

    try:
        yield
    except exceptions.NameResolutionError:
        raise Lost("its name is not known", unsent=True, hint="Check the host in the connection's url.") from None
    except exceptions.NewConnectionError as error:
        raise Lost(_reason(error), unsent=True) from None
    except exceptions.ConnectTimeoutError:
        raise Lost("does not answer", unsent=True) from None
    except exceptions.ReadTimeoutError:
        raise Lost("has sent nothing for too long") from None
    except (exceptions.SSLError, ssl.SSLError) as error:
        raise _tls(error) from None
    except exceptions.LocationParseError:
        raise Lost("is no address", unsent=True, passing=False) from None
    except exceptions.HTTPError as error:
        raise Lost(f"broke off the connection ({type(error).__name__})") from None


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, ConnectionRefusedError):
        return "refuses connections"
    if isinstance(cause, OSError) and cause.strerror:
        return f"cannot be reached: {cause.strerror}"
    return "cannot be reached"


def _tls(error: Exception) -> Lost:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return Lost(
            "has a TLS certificate that this machine does not trust",
            unsent=True,
            passing=False,
            hint="Install its authority (SSL_CERT_FILE), or write verify_tls: false for a network that you trust.",
        )
    if "WRONG_VERSION_NUMBER" in text or "record layer" in text:
        return Lost("does not speak TLS", unsent=True, passing=False, hint="Write http:// instead of https://.")
    return Lost("cannot agree on TLS", unsent=True, passing=False)


def as_error(lost: Lost, base: str) -> NodeError:
    """One line that names the server."""
    parts = urlsplit(base)
    message = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]} {lost.words}"
    if not lost.passing:
        return NodeError(message, hint=lost.hint)
    return TransientError(message, hint=lost.hint or "Check that it runs and can be reached from here.")
