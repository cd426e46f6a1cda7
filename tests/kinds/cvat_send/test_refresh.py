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
    assert (
        "2 frames got new labels, 2 frames kept theirs, since somebody has saved in the job or has it" in outputs.notes
    )


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


def test_a_job_that_was_taken_up_between_the_halves_keeps_one_set_of_labels(work, server):
    server.faults.add("PATCH", r"/api/jobs/1/annotations", times=1, after=True, status=500)
    with pytest.raises(NodeError):
        work.run(spec())
    assert work.shapes()["a.png"] == [OLD, NEW]
    server.person.change_job(1, state="in progress")
    work.run(spec())
    assert work.shapes() == {name: [NEW] for name in ("a.png", "b.png", "c.png", "d.png")}


PERSONS = {"label": "sand", "points": [1, 1, 5, 5]}


class Meanwhile:
    """A person who does something before or after the n-th request that matches, or before a kill at it."""

    def __init__(self, monkeypatch, wanted, what, *, after=False, kill=False):
        self._send = urllib3.connectionpool.HTTPConnectionPool.urlopen
        self.wanted, self.what, self.after, self.kill, self.done = wanted, what, after, kill, False
        monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "urlopen", lambda *a, **k: self.send(*a, **k))

    def send(self, pool, method, url, *arguments, **named):
        matches = not self.done and self.wanted(method, url)
        self.done = self.done or matches
        if matches and not self.after:
            self.what()
        if matches and self.kill and not self.after:
            raise Killed
        answer = self._send(pool, method, url, *arguments, **named)
        if matches and self.after:
            self.what()
            if self.kill:
                raise Killed
        return answer


def is_creating(method, url):
    return method == "PATCH" and "action=create" in url


def is_finishing(method, url):
    return method == "PATCH" and url.rstrip("/").rpartition("/")[2].isdigit() and "/tasks/" in url


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("moment", [is_creating, is_finishing])
def test_what_a_person_draws_while_a_task_is_made_is_never_taken_away(
    tmp_path, server, monkeypatch, moment, kill, after
):
    work = Round(tmp_path / "made", server)
    for name in NAMES:
        work.add_image(name, square(10, 10))
    whole = spec(segment_size=0)
    with monkeypatch.context() as patched:
        Meanwhile(patched, moment, lambda: server.person.draw(1, 2, PERSONS), kill=kill, after=after)
        if kill:
            with pytest.raises(Killed):
                work.run(whole)
        else:
            work.run(whole)
    work.run(whole)
    for x in (50, 60):
        work.predicted = {key: (square(x, 10),) for key in work.predicted}
        work.run(whole)
    assert [1, 1, 5, 5] in work.shapes()["c.png"]
    assert work.shapes()["a.png"] == [OLD]


def is_deleting(method, url):
    return method == "PATCH" and "action=delete" in url


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("moment", [is_creating, is_deleting])
def test_what_a_person_draws_while_labels_are_replaced_is_never_taken_away(
    work, server, monkeypatch, moment, kill, after
):
    with monkeypatch.context() as patched:
        Meanwhile(patched, moment, lambda: server.person.draw(1, 1, PERSONS), kill=kill, after=after)
        if kill:
            with pytest.raises(Killed):
                work.run(spec())
        else:
            work.run(spec())
    work.run(spec())
    work.predicted = {key: (square(60, 10),) for key in work.predicted}
    work.run(spec())
    assert [1, 1, 5, 5] in work.shapes()["b.png"]
    assert len(work.shapes()["b.png"]) == 2
    assert len(work.shapes()["a.png"]) == 1


@pytest.mark.parametrize("edited", ["old", "new"])
def test_of_two_sets_that_a_kill_left_the_one_that_a_person_worked_on_stays(work, server, monkeypatch, edited):
    with monkeypatch.context() as patched:
        Meanwhile(patched, is_deleting, lambda: None, kill=True)
        with pytest.raises(Killed):
            work.run(spec())
    old, new = (shape for shape in server.person.shapes(1) if shape["frame"] == 0)
    server.person.edit_shape((old if edited == "old" else new)["id"], points=[2, 2, 9, 2, 9, 9])
    outputs = work.run(spec())
    assert work.shapes()["a.png"] == [[2, 2, 9, 2, 9, 9]]
    assert work.shapes()["b.png"] == [NEW]
    assert not any("twice" in note for note in outputs.notes)


def test_a_label_that_a_person_moved_or_took_away_leaves_the_job_to_people(work, server):
    first, third = (shape["id"] for shape in server.person.shapes(1) if shape["frame"] in (0, 2))
    server.person.edit_shape(first, points=[2, 2, 9, 2, 9, 9])
    server.person.delete_shape(third)
    work.memory.values = {key: _without_dates(value) for key, value in work.memory.values.items()}
    for job in server.state.jobs_of(1):
        job.updated_date = server.state.tasks[1].created_date
    work.run(spec())
    assert work.shapes() == {"a.png": [[2, 2, 9, 2, 9, 9]], "b.png": [OLD], "d.png": [OLD]}


def _without_dates(value):
    """As if the person had saved before our last look at the jobs' dates."""
    if isinstance(value, dict) and "jobs" in value:
        dates = dict.fromkeys(value["jobs"], "")
        return {**value, "jobs": dates}
    return value


def test_a_lost_state_with_a_task_half_made_takes_no_drawing_for_ours(work, server, tmp_path):
    other = Round(tmp_path / "lost", server)
    for name in NAMES:
        other.add_image(name, square(10, 10), size_wh=(100, 80))
    whole = spec(segment_size=0)
    server.faults.add("PATCH", r"/api/tasks/\d+$", times=9, status=503)
    with pytest.raises(NodeError):
        other.run(whole)
    server.faults.clear()
    task = max(server.state.tasks)
    server.person.draw(task, 2, PERSONS)
    other.memory.values.clear()
    other.run(whole)
    other.predicted = {key: (square(50, 10),) for key in other.predicted}
    other.run(whole)
    assert len(server.state.tasks) == 2
    assert [1, 1, 5, 5] in [shape["points"] for shape in server.person.shapes(task)]


def test_labels_of_an_image_that_left_the_source_stay(work):
    gone = work.samples.pop(0)
    outputs = work.run(spec())
    assert work.shapes()[gone.name] == [OLD]
    assert work.shapes()["b.png"] == [NEW]
    assert outputs.facts["refreshed"] == 3


def test_a_kill_between_overlapping_jobs_replaces_the_shared_frame_in_both(tmp_path, server, monkeypatch):
    work = Round(tmp_path / "overlap", server)
    for name in NAMES:
        work.add_image(name, square(10, 10))
    whole = spec(overlap=1)
    work.run(whole)
    work.predicted = {key: (square(50, 10),) for key in work.predicted}
    second = max(server.state.jobs)
    with monkeypatch.context() as patched:
        Meanwhile(patched, lambda m, url: is_creating(m, url) and f"jobs/{second}/" in url, lambda: None, kill=True)
        with pytest.raises(Killed):
            work.run(whole)
    assert work.run(whole).facts["differing"] == 2
    task = max(server.state.tasks)
    assert [shape["points"] for job in server.state.jobs_of(task) for shape in job.shapes] == [NEW] * 4
