"""Requests to a CVAT server: signing in, listings, refusals, and servers that stumble."""

from __future__ import annotations

from pathlib import Path

import pytest

from specrun.clients.cvat.answers import Refused
from specrun.clients.cvat.api import Api
from specrun.clients.cvat.session import Sessions
from specrun.errors import CredentialsError, NodeError, StopRequested, TransientError
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_server import QUICK, api_of, connection_to, make_project


def logins(server: CvatDouble) -> int:
    return sum(path == "/api/auth/login" for _, path, _ in server.requests_seen)


def test_two_nodes_of_one_worker_sign_in_once() -> None:
    with CvatDouble() as server:
        sessions = Sessions()
        for _ in range(2):
            with Api(connection_to(server), retry=QUICK, sessions=sessions) as api:
                assert api.get("/api/users/self")["username"] == server.user
        assert logins(server) == 1


def test_nothing_is_asked_anonymously_before_signing_in() -> None:
    with CvatDouble() as server, api_of(server) as api:
        api.get("/api/server/about")
        assert [path for _, path, _ in server.requests_seen] == ["/api/auth/login", "/api/server/about"]


def test_a_session_that_ends_in_between_is_renewed_once() -> None:
    with CvatDouble() as server, api_of(server) as api:
        api.get("/api/users/self")
        server.faults.add("POST", "/api/projects", status=401, body=b'{"detail": "Authentication credentials ..."}')
        assert make_project(api) == 1
        assert logins(server) == 2


def test_a_wrong_password_names_the_user_and_not_the_password() -> None:
    with CvatDouble() as server, api_of(server, password="hush-hush") as api:
        with pytest.raises(CredentialsError, match="the user admin cannot sign in: Unable to log in") as raised:
            api.get("/api/users/self")
        assert "hush-hush" not in str(raised.value)
        assert logins(server) == 1


def test_a_token_that_is_not_known_is_refused_without_another_try() -> None:
    with CvatDouble() as server, api_of(server, token="t0ken", username=None, password=None) as api:
        with pytest.raises(CredentialsError, match="the access token is not accepted: Invalid token") as raised:
            api.get("/api/users/self")
        assert "t0ken" not in str(raised.value)
        assert len(server.requests_seen) == 1


def test_a_secret_that_the_server_repeats_is_not_passed_on() -> None:
    with CvatDouble() as server, api_of(server, token="t0ken", username=None, password=None) as api:
        content = {"Content-Type": "application/json"}
        server.faults.add("GET", "/api/users/self", status=400, body=b'["what is t0ken?"]', headers=content)
        with pytest.raises(Refused, match="what is …"):
            api.get("/api/users/self")


def test_a_connection_shows_none_of_its_secrets() -> None:
    with CvatDouble() as server:
        shown = repr(connection_to(server, token="t0ken"))
        assert "t0ken" not in shown
        assert server.password not in shown


def test_an_unknown_organization_is_named() -> None:
    with CvatDouble() as server, api_of(server, organization="reefs") as api:
        with pytest.raises(NodeError, match="reefs organization does not exist") as raised:
            api.get("/api/projects")
        assert raised.value.hint == "Check `organization` of the connection."


def test_what_the_account_may_not_do_is_refused_as_credentials() -> None:
    with CvatDouble() as server:
        with api_of(server) as api:
            project = make_project(api)
        server.add_user("ann", "pass-of-ann")
        with (
            api_of(server, username="ann", password="pass-of-ann") as api,
            pytest.raises(CredentialsError, match=f"the user ann may not GET /api/projects/{project}"),
        ):
            api.get(f"/api/projects/{project}")


def test_a_listing_is_read_to_its_end_in_large_pages() -> None:
    with CvatDouble() as server, api_of(server) as api:
        for number in range(12):
            make_project(api, f"p{number}")
        server.requests_seen.clear()
        assert len(list(api.pages("/api/projects"))) == 12
        assert len(server.requests_seen) == 1
        assert len(list(api.pages("/api/projects", page_size=5))) == 12


def test_a_busy_server_is_asked_again() -> None:
    with CvatDouble() as server, api_of(server) as api:
        server.faults.add("GET", "/api/users/self", times=2, status=503)
        assert api.get("/api/users/self")["username"] == server.user


def test_a_lost_answer_is_asked_for_again() -> None:
    with CvatDouble() as server, api_of(server) as api:
        server.faults.add("GET", "/api/users/self", drop=True)
        server.faults.add("GET", "/api/users/self", keep_bytes=20)
        assert api.get("/api/users/self")["username"] == server.user


def test_a_server_that_stays_busy_is_given_up() -> None:
    with CvatDouble() as server, api_of(server) as api:
        api.session()
        server.faults.add("GET", "/api/users/self", times=9, status=502)
        with pytest.raises(TransientError, match="GET /api/users/self failed there with status 502"):
            api.get("/api/users/self")
        assert server.faults.take("GET", "/api/users/self").times == 9 - QUICK.max_attempts - 1


def test_a_request_that_makes_something_is_never_repeated_after_a_lost_answer() -> None:
    with CvatDouble() as server, api_of(server) as api:
        api.session()
        server.faults.add("POST", "/api/projects", drop=True, after=True)
        with pytest.raises(TransientError):
            make_project(api)
        assert len(server.state.projects) == 1


def test_too_many_requests_are_waited_for_as_long_as_the_server_asks() -> None:
    with CvatDouble() as server, api_of(server) as api:
        api.session()
        server.faults.add("POST", "/api/projects", status=429, headers={"Retry-After": "0"})
        assert make_project(api) == 1


def test_a_wait_beyond_the_longest_delay_is_not_begun() -> None:
    with CvatDouble() as server, api_of(server) as api:
        api.session()
        server.faults.add("GET", "/api/users/self", status=429, headers={"Retry-After": "37"})
        with pytest.raises(TransientError, match="asks to wait 37 s"):
            api.get("/api/users/self")


def test_a_refusal_carries_the_servers_own_words_and_its_fields() -> None:
    with CvatDouble() as server, api_of(server) as api:
        with pytest.raises(Refused, match=r"status 400: labels: type: .*blob.* is not a valid choice") as raised:
            api.post("/api/projects", {"name": "p", "labels": [{"name": "a", "type": "blob"}]})
        assert raised.value.status == 400


def test_a_stop_ends_the_waiting() -> None:
    asked = 0

    def check_stop() -> None:
        nonlocal asked
        asked += 1
        if asked > 3:
            raise StopRequested("stopped")

    with CvatDouble() as server, api_of(server, check_stop=check_stop) as api:
        server.faults.add("GET", "/api/users/self", times=99, status=503)
        with pytest.raises(StopRequested):
            api.get("/api/users/self")


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        server.faults.add("GET", "/api/server/about", keep_bytes=10)
        told: list[int] = []
        api.stream("/api/server/about", tmp_path / "about.json", lambda done, total: told.append(done))
        assert b'"version"' in (tmp_path / "about.json").read_bytes()
        assert list(tmp_path.iterdir()) == [tmp_path / "about.json"]
        assert told[-1] == (tmp_path / "about.json").stat().st_size


def test_a_download_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    with CvatDouble() as server, api_of(server) as api:
        with pytest.raises(Refused):
            api.stream("/api/tasks/9/data/", tmp_path / "frames.zip", type="chunk", number=0)
        assert not list(tmp_path.iterdir())
