import pytest

from specrun.kinds.cvat_send.sending import connect
from specrun.kinds.cvat_send.webhook import ensure_webhook
from specrun.model.digest import canonical_json
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sending import Round, spec_of

SECRET = {"env": "HOOK_SECRET"}
HOOK = {"listen": "127.0.0.1:9090", "url": "https://example.org/hook", "secret": SECRET}


@pytest.fixture
def server():
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double


def test_the_webhook_of_a_project_is_made_once_with_its_secret(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png")
    password = {canonical_json({"env": "CVAT_PASSWORD"}): server.password}
    secrets = {**password, canonical_json(SECRET): "s3cret"}
    for _ in range(2):
        outputs = work.run(spec_of(webhook=HOOK), secrets=secrets)
    (hook,) = server.state.webhooks.values()
    assert (hook.target_url, hook.secret, hook.type) == ("https://example.org/hook", "s3cret", "project")
    assert hook.project_id == outputs.facts["project_id"]
    assert {"update:job", "update:task"} <= set(hook.events)


def test_a_webhook_that_somebody_switched_off_is_switched_on_again(tmp_path, server):
    work = Round(tmp_path, server)
    work.add_image("a.png")
    project_id = work.run().facts["project_id"]
    with connect(spec_of(), work.context()) as api:
        first = ensure_webhook(api, project_id, "https://example.org/hook", "one")
        server.state.webhooks[first].is_active = False
        assert ensure_webhook(api, project_id, "https://example.org/hook", "two") == first
    hook = server.state.webhooks[first]
    assert (hook.is_active, hook.secret) == (True, "two")
