"""refresh: untouched. New labels reach jobs that nobody has opened, and no others."""

import pytest
import urllib3

from specrun.errors import NodeError
from tests.doubles.cvat.server import CvatDouble
from tests.support.cvat_sending import Round, polygons, spec_of, square

NAMES = ("a.png", "b.png", "c.png")
OLD, NEW = [10, 10, 30, 10, 30, 30, 10, 30], [50, 10, 70, 10, 70, 30, 50, 30]


@pytest.fixture
def server():
    with CvatDouble(anonymous_per_minute=None) as double:
        yield double
        assert not double.errors


@pytest.fixture
def work(tmp_path, server):
    round_ = Round(tmp_path, server)
    for name in ("a.png", "b.png", "c.png", "d.png"):
        round_.add_image(name, square(10, 10))
    round_.run(spec())
    round_.predicted = {key: (square(50, 10),) for key in round_.predicted}
    return round_


def spec(refresh="untouched", **tasks):
    tasks = {"from": "sources.photos", "size": 9, "segment_size": 2, **tasks}
    return spec_of(tasks=tasks, prelabels=polygons(refresh=refresh))


def test_untouched_jobs_get_the_new_labels(work):
    outputs = work.run(spec())
    assert work.shapes() == {name: [NEW] for name in ("a.png", "b.png", "c.png", "d.png")}
    assert (outputs.facts["differing"], outputs.facts["refreshed"]) == (4, 4)
    assert work.run(spec()).facts["differing"] == 0


def test_never_leaves_all_as_it_was_and_says_how_many_would_differ(work):
    outputs = work.run(spec("never"))
    assert all(shapes == [OLD] for shapes in work.shapes().values())
    assert (outputs.facts["differing"], outputs.facts["refreshed"]) == (4, 0)


def test_a_job_in_which_somebody_drew_stays_as_it_is(work, server):
    server.person.draw(1, 3, {"label": "sand", "points": [1, 1, 5, 5]})
    outputs = work.run(spec())
    assert work.shapes() == {"a.png": [NEW], "b.png": [NEW], "c.png": [OLD], "d.png": [OLD, [1, 1, 5, 5]]}
    assert "2 frames got new labels, 2 frames kept theirs, since somebody has opened the job" in outputs.notes


@pytest.mark.parametrize("change", [{"state": "in progress"}, {"stage": "validation"}, {"assignee": 1}])
def test_a_job_that_was_opened_moved_on_or_given_to_somebody_stays_as_it_is(work, server, change):
    server.person.change_job(1, **change)
    work.run(spec())
    assert work.shapes() == {"a.png": [OLD], "b.png": [OLD], "c.png": [NEW], "d.png": [NEW]}


def test_what_a_person_saves_between_looking_and_replacing_stays(work, server, monkeypatch):
    """The person saves after specrun looked at the job a last time."""
    send = urllib3.connectionpool.HTTPConnectionPool.urlopen
    drawn = []

    def meanwhile(pool, method, url, *arguments, **named):
        if "action=delete" in url and not drawn:
            drawn.append(server.person.draw(1, 0, {"label": "sand", "points": [1, 1, 5, 5]}))
        return send(pool, method, url, *arguments, **named)

    monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "urlopen", meanwhile)
    work.run(spec())
    assert [1, 1, 5, 5] in work.shapes()["a.png"]
    assert OLD not in work.shapes()["a.png"]


def test_overlapping_jobs_are_refreshed_together_or_not_at_all(tmp_path, server):
    work = Round(tmp_path / "overlap", server)
    for name in NAMES:
        work.add_image(name, square(10, 10))
    whole = spec(overlap=1)
    work.run(whole)
    work.predicted = {key: (square(50, 10),) for key in work.predicted}
    server.person.change_job(2, state="in progress")
    work.run(whole)
    assert all(shapes == [OLD] for shapes in work.shapes().values())


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_any_request_leaves_each_job_with_one_set_of_labels(tmp_path, monkeypatch, moment):
    n, ended = 0, False
    while not ended:
        n += 1
        with CvatDouble(anonymous_per_minute=None) as server:
            work = Round(tmp_path / str(n), server)
            for name in NAMES:
                work.add_image(name, square(10, 10))
            work.run(spec())
            work.predicted = {key: (square(50, 10),) for key in work.predicted}
            with monkeypatch.context() as patched:
                ended = not killed(patched, work, n, moment)
            work.run(spec())
            assert work.shapes() == {name: [NEW] for name in NAMES}, f"killed {moment} request {n}"
    assert n > 10


def killed(patched, work, n, moment):
    """Whether the run was ended at its n-th request; it may have fewer."""
    send = urllib3.connectionpool.HTTPConnectionPool.urlopen
    seen = []

    def counting(*arguments, **named):
        seen.append(1)
        if len(seen) == n and moment == "before":
            raise Killed
        answer = send(*arguments, **named)
        if len(seen) == n:
            raise Killed
        return answer

    patched.setattr(urllib3.connectionpool.HTTPConnectionPool, "urlopen", counting)
    try:
        work.run(spec())
    except Killed:
        return True
    return False


def test_a_job_that_was_opened_between_the_halves_is_left_to_people(work, server):
    server.faults.add("PATCH", r"/api/jobs/1/annotations", times=1, after=True, status=500)
    with pytest.raises(NodeError):
        work.run(spec())
    server.person.change_job(1, state="in progress")
    work.run(spec())
    assert "a.png" not in work.shapes()
    assert work.shapes()["c.png"] == [NEW]
