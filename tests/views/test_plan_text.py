import json

from specrun.model.address import parse_address
from specrun.model.diagnostic import Position
from specrun.model.plan import Action, Cause, Estimate, Plan, PlannedNode, Reason
from specrun.views.plan_text import plan_json, plan_text
from tests.support.golden import check_golden
from tests.support.synthetic_run import coral_plan, planned


def plan_of(*nodes: PlannedNode) -> Plan:
    return Plan("corals", nodes)


CORALS = plan_of(*coral_plan())


def test_plan_of_a_reef_project_at_two_widths() -> None:
    check_golden("views/plan_120.txt", plan_text(CORALS, width=120))
    check_golden("views/plan_80.txt", plan_text(CORALS, width=80))


def test_plan_in_full_detail() -> None:
    check_golden("views/plan_verbose.txt", plan_text(CORALS, verbose=True, width=120))


def test_plan_in_colour() -> None:
    check_golden("views/plan_color.txt", plan_text(CORALS, color=True, width=120))


def test_a_changed_field_names_its_line_and_its_estimate() -> None:
    reason = Reason(Cause.CONFIG, "train.epochs 50 → 100", Position("project.yaml", 61, 5))
    estimate = Estimate(2460, "last run 20 min")
    node = planned("models.unet", Action.UPDATE, reasons=(reason,), estimate=estimate)
    assert "~ models.unet  train.epochs 50 → 100  project.yaml:61   about 41 min (last run 20 min)" in plan_text(
        plan_of(node)
    )


def test_an_estimate_without_a_time_says_why() -> None:
    reason = Reason(Cause.CONFIG, "export.onnx set to {}", Position("project.yaml", 61, 5))
    node = planned(
        "models.unet", Action.UPDATE, reasons=(reason,), estimate=Estimate(source="nothing is trained again")
    )
    assert "project.yaml:61   nothing is trained again" in plan_text(plan_of(node))


def test_what_the_world_changed_reads_as_one_sentence() -> None:
    seen = (Reason(Cause.OBSERVATION, "2 new completed tasks"), Reason(Cause.OBSERVATION, "1 task edited"))
    text = plan_text(plan_of(planned("sources.reef", Action.UPDATE, reasons=seen)))
    assert "2 new completed tasks, 1 task edited" in text


def test_nothing_to_do_says_so() -> None:
    text = plan_text(plan_of(planned("sources.reef", Action.NONE)))
    assert text.splitlines()[0] == "corals · 1 node · nothing to do, everything is up to date"


def test_nothing_to_do_while_people_are_waited_for_says_both() -> None:
    text = plan_text(plan_of(planned("sources.a", Action.NONE), planned("sources.b", Action.WAIT)))
    assert text.splitlines()[0] == "corals · 2 nodes · nothing to do, 1 up to date, 1 waiting for people"


def test_many_unchanged_nodes_take_one_line_unless_verbose() -> None:
    plan = plan_of(*(planned(f"sources.s{i}", Action.NONE) for i in range(7)), planned("models.m"))
    assert "= 7 nodes   up to date  sources 7" in plan_text(plan)
    assert plan_text(plan).count("sources.s") == 0
    assert plan_text(plan, verbose=True).count("sources.s") == 7


def test_an_unchanged_node_with_a_note_is_never_hidden() -> None:
    nodes = [planned(f"sources.s{i}", Action.NONE) for i in range(7)]
    lossy = planned("exports.coco", Action.NONE, notes=("12 polylines are not part of COCO",))
    text = plan_text(plan_of(*nodes, lossy))
    assert "exports.coco" in text
    assert "12 polylines are not part of COCO" in text


def test_instances_with_the_same_reason_stand_together() -> None:
    nodes = [planned(f"models.m[seed={i}]", seconds=600) for i in range(6)]
    assert "models.m[*] ×6  new   about 1 h in all" in plan_text(plan_of(*nodes))
    assert plan_text(plan_of(*nodes), verbose=True).count("models.m[seed=") == 6


def test_an_orphan_says_what_becomes_of_it_and_is_not_counted_as_declared() -> None:
    text = plan_text(plan_of(planned("sources.a"), planned("exports.old", Action.ORPHAN)))
    assert text.startswith("corals · 1 node · 1 to run, 1 no longer in the spec")
    assert "kept; `specrun prune` removes it" in text


def test_verbose_shows_exact_values_that_the_line_does_not() -> None:
    long = Reason(Cause.CONFIG, "augment changed", path="augment", old={"flip": 0.5}, new={"flip": 0.1})
    text = plan_text(plan_of(planned("models.m", Action.UPDATE, reasons=(long,))), verbose=True)
    assert 'augment: {"flip": 0.5} → {"flip": 0.1}' in text


def test_more_than_three_reasons_are_counted() -> None:
    reasons = tuple(Reason(Cause.CONFIG, f"train.f{i} 1 → 2") for i in range(9))
    node = planned("models.m", Action.UPDATE, reasons=reasons)
    assert "and 6 more reasons (-v shows them)" in plan_text(plan_of(node))
    assert "train.f8" in plan_text(plan_of(node), verbose=True)


def test_hostile_names_are_harmless() -> None:
    node = PlannedNode(
        parse_address("models.m[label=\x1b[2Jx]".replace("[2J", "2J")),
        "x",
        Action.CREATE,
        (Reason(Cause.OBSERVATION, "new label \x1b[31m\x07"),),
    )
    assert "\x1b" not in plan_text(plan_of(node))


def test_every_line_fits_the_width() -> None:
    for width in (60, 80, 100, 140):
        longest = max(len(line) for line in plan_text(CORALS, verbose=True, width=width).splitlines())
        assert longest <= width


def test_json_carries_the_same_with_names() -> None:
    data = json.loads(json.dumps(plan_json(CORALS)))
    detector = next(node for node in data["nodes"] if node["address"] == "models.detector")
    assert detector["sign"] == "~"
    assert detector["estimate"]["seconds"] == 2460
    assert detector["reasons"][0]["where"] == {"file": "project.yaml", "line": 61, "column": 5}
    assert data["changes"] is True
    assert data["summary"]["wait"] == 1


def test_what_people_owe_stands_once_one_thing_a_line() -> None:
    owed = tuple(Reason(Cause.PEOPLE, f"task {i}: not begun") for i in range(10))
    node = planned("sources.a", Action.WAIT, reasons=owed, notes=(", ".join(reason.text for reason in owed),))
    lines = [line.strip() for line in plan_text(plan_of(node)).splitlines()[2:]]
    assert lines[0] == "⏸ sources.a  waits for people:"
    assert lines[1:3] == ["task 0: not begun", "task 1: not begun"]
    assert lines[-1] == "and 2 more"
    assert len(lines) == 10
