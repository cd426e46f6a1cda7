"""Login, registration, access tokens, users, organizations and memberships."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from tests.doubles.cvat import access, bodies, listing
from tests.doubles.cvat import resources_projects as projects
from tests.doubles.cvat.render import Render
from tests.doubles.cvat.server_protocol import Server
from tests.doubles.cvat.state import Membership, Organization, State, Token, User
from tests.doubles.cvat.wire import Answer, Call, Refused

ROLES = ("worker", "supervisor", "maintainer", "owner")
_USERS: listing.Fields[User] = listing.Fields(
    {
        "id": lambda user: user.id,
        "username": lambda user: user.username,
        "first_name": lambda user: user.first_name,
        "last_name": lambda user: user.last_name,
        "is_active": lambda user: True,
    },
    simple=("first_name", "is_active", "last_name", "username"),
    search=("first_name", "last_name", "username"),
)
_TOKENS: listing.Fields[Token] = listing.Fields(
    {
        "id": lambda token: token.id,
        "name": lambda token: token.name,
        "read_only": lambda token: token.read_only,
        "created_date": lambda token: token.created_date,
        "updated_date": lambda token: token.updated_date,
        "expiry_date": lambda token: token.expiry_date,
        "last_used_date": lambda token: token.last_used_date,
    },
    simple=("name", "read_only"),
    search=("name",),
)


def login(server: Server, call: Call) -> Answer:
    body, state = call.json(), server.state
    user = access.with_password(state, body.get("username") or body.get("email") or "", body.get("password") or "")
    if user is None:
        raise Refused(400, {"non_field_errors": ["Unable to log in with provided credentials."]})
    user.last_login = state.now()
    return _welcome(state, user, Answer(200, {}))


def _welcome(state: State, user: User, answer: Answer) -> Answer:
    session, csrf, key = secrets.token_hex(16), secrets.token_hex(16), secrets.token_hex(20)
    state.sessions[session] = user.id
    state.login_keys[key] = user.id
    answer.body["key"] = key
    answer.cookies = [
        f"csrftoken={csrf}; Max-Age=31449600; Path=/; SameSite=Lax",
        "sessionfresh=1; HttpOnly; Max-Age=86400; Path=/; SameSite=Lax",
        f"sessionid={session}; HttpOnly; Max-Age=1209600; Path=/; SameSite=Lax",
    ]
    return answer


def logout(server: Server, call: Call) -> Answer:
    state = server.state
    state.sessions.pop(call.cookies.get("sessionid", ""), None)
    if call.user is not None:
        for key in [key for key, user_id in state.login_keys.items() if user_id == call.user.id]:
            del state.login_keys[key]
    return Answer(200, {"detail": "Successfully logged out."})


def register(server: Server, call: Call) -> Answer:
    body, state = call.json(), server.state
    bodies.text(body, "username", longest=150, required=True)
    if any(user.username == body["username"] for user in state.users.values()):
        raise Refused(400, {"username": ["A user with that username already exists."]})
    if body.get("password1") != body.get("password2"):
        raise Refused(400, {"non_field_errors": ["The two password fields didn't match."]})
    names = {name: body.get(name, "") for name in ("email", "first_name", "last_name")}
    user = User(state.next_id("users"), body["username"], body["password1"], date_joined=state.now(), **names)
    state.users[user.id] = user
    told = {"username": user.username, **names, "email_verification_required": False}
    user.last_login = state.now()
    return _welcome(state, user, Answer(201, told))


def users(server: Server, call: Call) -> Answer:
    state = server.state
    seen = [user for user in state.users.values() if _sees_user(state, call, user)]
    return listing.page(call, seen, _USERS, Render(state, call.base_url, call.caller).user)


def _sees_user(state: State, call: Call, user: User) -> bool:
    if call.organization is not None:
        return access.membership(state, user, call.organization.id) is not None
    return call.caller.superuser or user is call.caller


def user(server: Server, call: Call, name: str) -> Answer:
    found = call.caller if name == "self" else server.state.users.get(int(name))
    if found is None:
        raise Refused(404, {"detail": "No User matches the given query."})
    return Answer(200, Render(server.state, call.base_url, call.caller).user(found))


def tokens(server: Server, call: Call) -> Answer:
    state = server.state
    render = Render(state, call.base_url, call.caller)
    if call.method == "POST":
        body = call.json()
        bodies.text(body, "name", longest=128, required=True)
        expiry = datetime.fromisoformat(body["expiry_date"]) if body.get("expiry_date") else None
        if expiry is not None and expiry.tzinfo is None:
            expiry = expiry.replace(tzinfo=UTC)
        made = state.new_token(
            body["name"], call.caller.id, expiry_date=expiry, read_only=bool(body.get("read_only", False))
        )
        return Answer(201, render.token(made) | {"value": made.value})
    own = [token for token in state.tokens.values() if token.owner_id == call.caller.id]
    return listing.page(call, own, _TOKENS, render.token)


def token(server: Server, call: Call, name: str) -> Answer:
    state = server.state
    found = call.token if name == "self" else state.tokens.get(int(name))
    if found is None or found.owner_id != call.caller.id:
        raise Refused(404, {"detail": "No AccessToken matches the given query."})
    if call.method == "DELETE":
        del state.tokens[found.id]
        return Answer(204)
    if call.method == "PATCH":
        found.name = call.json().get("name", found.name)
        found.updated_date = state.now()
    return Answer(200, Render(state, call.base_url, call.caller).token(found))


def organizations(server: Server, call: Call) -> Answer:
    state = server.state
    render = Render(state, call.base_url, call.caller)
    if call.method == "POST":
        body = call.json()
        bodies.text(body, "slug", longest=16, required=True)
        if any(organization.slug == body["slug"] for organization in state.organizations.values()):
            raise Refused(400, {"slug": ["organization with this slug already exists."]})
        described = {"description": body.get("description", ""), "contact": body.get("contact") or {}}
        made = state.new_organization(body["slug"], body.get("name") or body["slug"], call.caller.id, **described)
        return Answer(201, render.organization(made))
    seen = [one for one in state.organizations.values() if access.sees_organization(state, call.caller, one)]
    return listing.page(call, seen, _organization_fields(state), render.organization)


def _organization_fields(state: State) -> listing.Fields[Organization]:
    return listing.Fields(
        {
            "id": lambda organization: organization.id,
            "name": lambda organization: organization.name,
            "slug": lambda organization: organization.slug,
            "owner": lambda organization: projects.username(state, organization.owner_id),
        },
        simple=("name", "owner", "slug"),
        search=("name", "owner", "slug"),
    )


def organization(server: Server, call: Call, number: str) -> Answer:
    found = server.state.organizations.get(int(number))
    if found is None:
        raise Refused(404, {"detail": "No Organization matches the given query."})
    if not access.sees_organization(server.state, call.caller, found):
        raise Refused(403, access.FORBIDDEN)
    return Answer(200, Render(server.state, call.base_url, call.caller).organization(found))


def memberships(server: Server, call: Call) -> Answer:
    state = server.state
    seen = [member for member in state.memberships.values() if _sees_membership(state, call, member)]
    fields: listing.Fields[Membership] = listing.Fields(
        {
            "id": lambda member: member.id,
            "role": lambda member: member.role,
            "user": lambda member: projects.username(state, member.user_id),
        },
        simple=("role", "user"),
        search=("user",),
        choices={"role": ROLES},
    )
    return listing.page(call, seen, fields, Render(state, call.base_url, call.caller).membership)


def _sees_membership(state: State, call: Call, member: Membership) -> bool:
    if call.organization is not None:
        return member.organization_id == call.organization.id
    return call.caller.superuser or member.user_id == call.caller.id
