"""The planner on little graphs: which nodes are stale, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from specrun.model.address import Address, parse_address
from specrun.model.diagnostic import Position
from specrun.model.node import Input, Node
from specrun.model.plan import Action, Cause, Estimate
from specrun.model.state import Attempt, NodeRecord, Observation, Outcome, Unreachable
from specrun.planner.compile import Wish, make_plan
from specrun.planner.fingerprint import fingerprint, read_digests
from specrun.planner.world import Begun, World


def node(address: str, *needs: str, parts: tuple[str, ...] = (), **config: object) -> Node:
    inputs = tuple(Input("from", parse_address(n), parts) for n in needs)
    marks = {"": Position("p.yaml", 1), **{k: Position("p.yaml", 10 + i) for i, k in enumerate(config)}}
    return Node(parse_address(address), "steps.step", 1, dict(config), dict(config), inputs, marks=marks)  # type: ignore[arg-type]


def made(*nodes: Node, observations: dict[Address, Observation] | None = None) -> dict[Address, NodeRecord]:
    records: dict[Address, NodeRecord] = {}
    seen = observations or {}
    for n in nodes:
        read = read_digests(n, records.__getitem__, seen.get)
        value = seen[n.address].value if n.address in seen else None
        records[n.address] = NodeRecord(
            n.address, n.kind, n.kind_version, fingerprint(n, read, value), n.result_config, read, value,
            digest=f"out-{n.address}", parts={"media": "m1", "field:gt": "g1"}, facts={}, folder=n.address.folder,
            run="r1", made_at="2026-01-01T00:00:00", duration_s=3.0,
        )  # fmt: skip
    return records


A, B, C = node("steps.a", x=1), node("steps.b", "steps.a"), node("steps.c", "steps.b")


def actions(plan: object) -> dict[str, Action]:
    return {str(n.address): n.action for n in plan.nodes}  # type: ignore[attr-defined]


def test_a_node_never_made_is_created() -> None:
    plan = make_plan("p", [A, B], World())
    assert actions(plan) == {"steps.a": Action.CREATE, "steps.b": Action.CREATE}
    assert plan.nodes[0].fingerprint is not None
    assert plan.nodes[1].fingerprint is None


def test_an_unchanged_project_has_nothing_to_do() -> None:
    plan = make_plan("p", [A, B, C], World(records=made(A, B, C)))
    assert not plan.has_changes


def test_a_changed_field_names_old_and_new_and_its_line_and_what_is_below_is_unknown() -> None:
    edited = node("steps.a", x=2)
    plan = make_plan("p", [edited, B, C], World(records=made(A, B, C)))
    assert actions(plan) == {"steps.a": Action.UPDATE, "steps.b": Action.UNKNOWN, "steps.c": Action.UNKNOWN}
    (reason,) = plan.nodes[0].reasons
    assert (reason.text, reason.where, reason.old, reason.new) == ("x 1 → 2", Position("p.yaml", 10), 1, 2)
    assert plan.nodes[1].reasons[0].text == "after steps.a"


def test_an_estimate_is_asked_for_with_the_fields_that_changed_alone() -> None:
    asked: dict[str, tuple[str, ...]] = {}

    def estimate(node: Node, last: NodeRecord | None, changed: Sequence[str]) -> Estimate:
        asked[str(node.address)] = tuple(changed)
        return Estimate()

    edited = [node("steps.a", x=2), node("steps.b", "steps.a", y=1)]
    make_plan("p", edited, World(records=made(A, B)), estimate=estimate)
    assert asked == {"steps.a": ("x",), "steps.b": ()}  # of b an input may change too
    gone = {A.address: "outputs/steps/a was deleted"}
    make_plan("p", edited[:1], World(records=made(A), gone=gone), estimate=estimate)
    assert asked["steps.a"] == ()


def test_true_and_one_are_different_values() -> None:
    plan = make_plan("p", [node("steps.a", x=True)], World(records=made(A)))
    assert plan.nodes[0].action is Action.UPDATE


def test_a_deleted_output_is_made_again() -> None:
    plan = make_plan("p", [A, B], World(records=made(A, B), gone={A.address: "outputs/steps/a was deleted"}))
    assert plan.nodes[0].reasons[0].text == "outputs/steps/a was deleted"


def test_a_changed_observation_gives_its_own_words() -> None:
    seen = {A.address: Observation("v1")}
    now = {A.address: Observation("v2", differences=("1 image changed: a.png",))}
    plan = make_plan("p", [A, B], World(records=made(A, B, observations=seen), observations=now))
    assert [r.text for r in plan.nodes[0].reasons] == ["1 image changed: a.png"]


def test_an_edit_by_hand_reaches_only_those_who_read_that_part() -> None:
    reads_gt, reads_media = (
        node("exports.e", "steps.a", parts=("field:gt",)),
        node("exports.f", "steps.a", parts=("media",)),
    )
    records = made(A, reads_gt, reads_media)
    edited = Observation(parts={"media": "m1", "field:gt": "g2"}, part_changes={"field:gt": ("1 sample changed",)})
    plan = make_plan("p", [A, reads_gt, reads_media], World(records=records, observations={A.address: edited}))
    assert actions(plan) == {"steps.a": Action.NONE, "exports.e": Action.UPDATE, "exports.f": Action.NONE}
    assert plan.nodes[1].reasons[0].text == "steps.a: 1 sample changed"


def test_what_several_parts_say_alike_is_said_once() -> None:
    reads = node("exports.e", "steps.a", parts=("media", "field:gt"))
    changes = {"media": ("1 sample gone: c.png",), "field:gt": ("1 sample gone: c.png", "1 sample changed")}
    edited = Observation(parts={"media": "m2", "field:gt": "g2"}, part_changes=changes)
    plan = make_plan("p", [A, reads], World(records=made(A, reads), observations={A.address: edited}))
    assert [r.text for r in plan.nodes[1].reasons] == ["steps.a: 1 sample gone: c.png", "steps.a: 1 sample changed"]


def test_an_interrupted_node_goes_on() -> None:
    attempt = Attempt(A.address, Outcome.INTERRUPTED, "f", "r1", "2026", "killed")
    plan = make_plan("p", [A], World(attempts={A.address: attempt}))
    assert (plan.nodes[0].action, plan.nodes[0].reasons[0].cause) == (Action.RESUME, Cause.INTERRUPTED)


def test_a_failure_that_no_longer_matters_is_forgotten() -> None:
    attempt = Attempt(A.address, Outcome.FAILED, "f", "r1", "2026", "x was 2 then")
    plan = make_plan("p", [A], World(records=made(A), attempts={A.address: attempt}))
    assert plan.nodes[0].action is Action.NONE


def test_waiting_for_people_holds_what_needs_it() -> None:
    plan = make_plan("p", [A, B], World(observations={A.address: Observation(missing=("7 of 10 tasks completed",))}))
    assert actions(plan) == {"steps.a": Action.WAIT, "steps.b": Action.WAIT}


def test_what_is_no_longer_declared_is_an_orphan() -> None:
    plan = make_plan("p", [A], World(records=made(A, B)))
    assert plan.nodes[-1].action is Action.ORPHAN


@pytest.mark.parametrize(("made_before", "below"), [((), Action.DISABLED), ((A,), Action.CREATE)])
def test_what_needs_a_disabled_node_uses_what_exists(made_before: tuple[Node, ...], below: Action) -> None:
    off = replace(A, enabled=False)
    plan = make_plan("p", [off, B], World(records=made(*made_before)))
    assert actions(plan) == {"steps.a": Action.DISABLED, "steps.b": below}


def test_targets_limit_the_plan_and_replace_makes_anew() -> None:
    wish = Wish(targets={A.address}, replace={A.address})
    plan = make_plan("p", [A, B], World(records=made(A, B)), wish)
    assert actions(plan) == {"steps.a": Action.UPDATE}


def test_where_things_stand_in_the_spec_changes_nothing() -> None:
    moved = replace(A, marks={"": Position("q.yaml", 99)})
    assert make_plan("p", [moved], World(records=made(A))).nodes[0].action is Action.NONE


def test_what_cannot_be_looked_at_says_why_and_what_needs_it_is_open() -> None:
    plan = make_plan("p", [A, B], World(records=made(A, B), unreachable={A.address: Unreachable("no such folder")}))
    assert plan.nodes[0].reasons[0].text == "could not be looked at: no such folder"
    assert actions(plan) == {"steps.a": Action.UPDATE, "steps.b": Action.UNKNOWN}


def test_what_cannot_be_looked_at_says_that_alone_and_what_to_do() -> None:
    records = made(A, observations={A.address: Observation({"project": 1, "missing": []})})
    refused = Unreachable("lab: the token is not accepted.", "Make a new one.", 5)
    plan = make_plan("p", [A], World(records=records, unreachable={A.address: refused}))
    texts = [reason.text for reason in plan.nodes[0].reasons]
    assert texts == ["could not be looked at: lab: the token is not accepted. Make a new one"]


def test_what_is_foreseen_of_a_run_is_told_where_there_will_be_one() -> None:
    seen = {n.address: Observation(notes=("seen",), foreseen=("12 steps",)) for n in (A, C)}
    plan = make_plan("p", [A, B, C], World(records=made(A), observations=seen))
    assert [node.notes for node in plan.nodes] == [("seen",), (), ("seen", "12 steps")]


LONG = "a wide reef seen at dusk"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (["a", "b"], ["a", "b", "c"], 'words ["a", "b"] → ["a", "b", "c"]'),
        (
            [LONG, "in fog"],
            [LONG, "in fog", "in snow"],
            'words + "in snow"',
        ),
        ([LONG, "in fog", "x"], [LONG, "in fog", "y"], 'words + "y" - "x"'),
        (
            [LONG, "a reef in fog", "x"],
            ["x", "a reef in fog", LONG],
            "words in another order",
        ),
        ([0] * 20, [0] * 25, "words + 0, 0, 0 and 2 more"),
        (["a"], ["another reef", LONG], 'words ["a"] → ["another reef", "a wide reef seen at d…'),
    ],
)
def test_of_a_long_list_what_came_and_went_is_told(old: list[str], new: list[str], told: str) -> None:
    was, now = node("steps.a", words=old), node("steps.a", words=new)
    (reason,) = make_plan("p", [now], World(records=made(was))).nodes[0].reasons
    assert reason.text == told


def test_notes_that_concern_one_run_are_not_repeated() -> None:
    record = replace(made(A)[A.address], notes=("3 moved", "2 images are broken"), facts={"passing_notes": ["3 moved"]})
    assert make_plan("p", [A], World(records={A.address: record})).nodes[0].notes == ("2 images are broken",)


def test_what_waits_says_of_when_its_last_output_is() -> None:
    owed = {A.address: Observation(missing=("job 1",))}
    plan = make_plan("p", [A, B, C], World(records=made(A, B), observations=owed))
    told = ("its last output, made 2026-01-01 00:00, is still there",)
    assert [node.notes for node in plan.nodes] == [told, told, ()]
    assert set(actions(plan).values()) == {Action.WAIT}


def test_an_interrupted_node_shows_what_was_edited_since_and_how_it_goes_on() -> None:
    was, now = node("models.m", epochs=40), node("models.m", epochs=60)
    attempt = Attempt(was.address, Outcome.INTERRUPTED, "f", "r1", "2026-01-01", "cancelled")
    begun = Begun(was.result_config, {}, "begins anew")
    world = World(attempts={was.address: attempt}, begun={was.address: begun})
    reasons = make_plan("p", [now], world).nodes[0].reasons
    assert [r.text for r in reasons] == ["interrupted last time: cancelled; begins anew", "epochs 40 → 60"]
    assert reasons[1].where == Position("p.yaml", 10)


def test_how_work_on_other_inputs_goes_on_is_not_told() -> None:
    upper, lower = node("steps.a", x=1), node("steps.b", "steps.a")
    attempt = Attempt(lower.address, Outcome.INTERRUPTED, "f", "r1", "2026-01-01", "cancelled")
    begun = Begun(lower.result_config, {"from:steps.a": "another"}, "goes on after epoch 3")
    world = World(records=made(upper), attempts={lower.address: attempt}, begun={lower.address: begun})
    planned = make_plan("p", [upper, lower], world).of(lower.address)
    assert [r.text for r in planned.reasons] == ["interrupted last time: cancelled"]


# The best instance of a matrix


def _grid(scores: dict[str, float | None], digests: dict[str, str] | None = None) -> dict[Address, NodeRecord]:
    """Two models and what reads the better one."""
    records = made(_ONE, _TWO)
    for address, record in records.items():
        name = dict(address.instance)["e"]
        score = scores[name]
        facts = {"metrics": {} if score is None else {"iou": score}}
        records[address] = replace(record, facts=facts, digest=(digests or {}).get(name, record.digest))
    read = read_digests(_READER, records.__getitem__, {}.get)
    reader = replace(made(A)[A.address], address=_READER.address, fingerprint=fingerprint(_READER, read, None))
    return {**records, _READER.address: replace(reader, inputs=read, result_config={})}


_ONE, _TWO = node("models.net[e=one]"), node("models.net[e=two]")
_READER = replace(node("steps.c"), inputs=tuple(Input("model", n.address, (), ("iou", "max")) for n in (_ONE, _TWO)))


def _plan_after(now: dict[Address, NodeRecord]) -> object:
    before = _grid({"one": 0.9, "two": 0.2})
    records = {**now, _READER.address: before[_READER.address]}
    return make_plan("p", [_ONE, _TWO, _READER], World(records=records))


def test_an_instance_that_is_not_the_best_makes_nothing_stale() -> None:
    assert not _plan_after(_grid({"one": 0.9, "two": 0.3}, {"two": "made anew"})).has_changes  # type: ignore[attr-defined]


def test_another_best_instance_is_named() -> None:
    plan = _plan_after(_grid({"one": 0.9, "two": 0.95}))
    (reader,) = (n for n in plan.nodes if n.action.runs)  # type: ignore[attr-defined]
    assert [reason.text for reason in reader.reasons] == [
        "now reads models.net[e=two]",
        "no longer reads models.net[e=one]",
    ]


def test_the_best_instance_made_anew_makes_its_reader_stale() -> None:
    plan = _plan_after(_grid({"one": 0.9, "two": 0.2}, {"one": "made anew"}))
    assert [str(n.address) for n in plan.nodes if n.action.runs] == [str(_READER.address)]  # type: ignore[attr-defined]


def test_where_no_instance_tells_the_metric_every_one_counts() -> None:
    assert len(_grid({"one": None, "two": None})[_READER.address].inputs) == 2
