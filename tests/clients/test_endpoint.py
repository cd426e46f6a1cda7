"""Inference endpoints: what is sent, what is waited for, and failures in words."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from specrun.clients.endpoint import Endpoint
from specrun.clients.http import Retry
from specrun.errors import CredentialsError, NodeError, TransientError
from tests.support.inference_endpoint import InferenceEndpoint, inference_endpoint

_QUICK = Retry(max_attempts=2, initial_delay_s=0.01, max_delay_s=0.02)


def _png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((3, 4, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def server() -> Iterator[InferenceEndpoint]:
    with inference_endpoint(lambda pixels: [{"seen": list(pixels.shape)}], token="hf_secret") as state:
        yield state


def _ask(server: InferenceEndpoint, token: str | None = "hf_secret", **parameters: object) -> object:
    endpoint = Endpoint(server.url, token, retry=_QUICK, loading_s=0.2)
    try:
        return endpoint.ask(_png(), "image/png", parameters)
    finally:
        endpoint.close()


def test_the_image_is_the_body_and_the_token_comes_along(server: InferenceEndpoint) -> None:
    assert _ask(server) == [{"seen": [3, 4, 3]}]
    (asked,) = server.asked
    assert (asked.content_type, asked.authorization, asked.parameters) == ("image/png", "Bearer hf_secret", {})


def test_parameters_make_it_json(server: InferenceEndpoint) -> None:
    _ask(server, threshold=0.3)
    (asked,) = server.asked
    assert (asked.content_type, asked.parameters, asked.size_wh) == ("application/json", {"threshold": 0.3}, (4, 3))


def test_a_model_that_is_loading_is_waited_for(server: InferenceEndpoint) -> None:
    loading = (503, {"error": "Model plants is currently loading", "estimated_time": 0.01})
    server.faults = [loading] * 5
    assert _ask(server) == [{"seen": [3, 4, 3]}]


def test_a_server_that_stumbles_is_asked_again(server: InferenceEndpoint) -> None:
    server.faults = [(500, {"error": "CUDA error"})]
    assert _ask(server) == [{"seen": [3, 4, 3]}]


def test_a_wrong_token_is_an_error_of_credentials_without_the_token(server: InferenceEndpoint) -> None:
    with pytest.raises(CredentialsError, match="refuses the token") as caught:
        _ask(server, token="hf_wrong")
    assert "hf_wrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (404, NodeError, "nothing at this address"),
        (413, NodeError, "too large"),
        (400, NodeError, "answers 400: cannot identify image"),
        (500, TransientError, "answers 500: cannot identify image"),
    ],
)
def test_failures_say_what_the_server_says(
    server: InferenceEndpoint, status: int, kind: type[Exception], words: str
) -> None:
    server.faults = [(status, {"error": "cannot identify\nimage"})] * 2
    with pytest.raises(kind, match=words):
        _ask(server)
