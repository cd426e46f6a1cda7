from specrun.model.event import NodeFailed, NodeFinished, NodeStarted, Progress
from specrun.model.plan import Action
from specrun.tui.tree_rows import Row, RowSort, Show, Wish, fold, tree_rows
from specrun.views.node_view import NodeState
from specrun.views.run_view import RunView
from tests.support.synthetic_run import START, coral_run, planned, started


def corals() -> RunView:
    view = RunView()
    for event in coral_run(until=600):
        view.apply(event)
    return view


def rows(wish: Wish | None = None, view: RunView | None = None) -> list[Row]:
    return tree_rows(view or corals(), wish or Wish(), START + 600)


def keys(found: list[Row]) -> list[str]:
    return [row.key for row in found]


def test_sections_stand_in_the_order_of_the_plan_with_their_nodes() -> None:
    assert keys(rows())[:6] == ["", "sources", "sources.reef", "sources.photos", "sources.round1", "datasets"]


def test_a_matrix_is_one_row_until_it_is_opened() -> None:
    matrix = next(row for row in rows() if row.sort is RowSort.MATRIX)
    assert (matrix.key, matrix.open) == ("models.sweep", False)
    opened = rows(fold(Wish(), matrix))
    assert [row.label for row in opened if row.key.startswith("models.sweep[")] == [
        "encoder=resnet18",
        "encoder=resnet34",
        "encoder=resnet50",
        "encoder=convnext_tiny",
    ]
    assert keys(rows(fold(fold(Wish(), matrix), matrix))) == keys(rows())


def test_a_folded_section_hides_its_nodes() -> None:
    section = next(row for row in rows() if row.key == "models")
    folded = rows(fold(Wish(), section))
    assert not any(key.startswith("models.") for key in keys(folded))


def test_a_group_shows_its_most_pressing_state_and_counts_the_rest() -> None:
    matrix = next(row for row in rows() if row.sort is RowSort.MATRIX)
    assert matrix.state is NodeState.FAILED
    assert dict(matrix.amounts) == {NodeState.QUEUED: 2, NodeState.RUNNING: 1, NodeState.FAILED: 1}


def test_a_single_instance_of_a_matrix_is_still_a_matrix() -> None:
    view = RunView()
    view.apply(started(planned("models.m[seed=1]")))
    assert [row.sort for row in rows(view=view)] == [RowSort.RUN, RowSort.SECTION, RowSort.MATRIX]


def test_an_instance_is_called_by_what_tells_it_from_the_others() -> None:
    view = RunView()
    names = (
        "a=1,encoder=timm-mobilenetv3_small_minimal_100,seed=1",
        "a=1,encoder=timm-mobilenetv3_small_minimal_100,seed=2",
    )
    view.apply(started(*(planned(f"models.m[{name}]") for name in names)))
    matrix = next(row for row in rows(view=view) if row.sort is RowSort.MATRIX)
    opened = rows(fold(Wish(), matrix), view=view)
    assert [row.label for row in opened if row.key.startswith("models.m[")] == ["seed=1", "seed=2"]


def test_filters_open_what_they_find() -> None:
    found = keys(rows(Wish(text="RESNET50")))
    assert found == ["", "models", "models.sweep", "models.sweep[encoder=resnet50]"]
    assert keys(rows(Wish(show=Show.FAILED))) == found
    assert "models.detector" in keys(rows(Wish(show=Show.RUNNING)))


def test_a_filter_that_finds_nothing_leaves_the_run() -> None:
    assert keys(rows(Wish(text="nothing like that"))) == [""]


def test_a_running_row_has_fraction_elapsed_and_time_left_and_a_done_one_its_duration() -> None:
    view = RunView()
    for event in (
        started(planned("steps.a", seconds=40), planned("steps.b")),
        NodeStarted(address="steps.a", time=START + 580),
        Progress(address="steps.a", done=5, total=10, time=START + 600),
        NodeFinished(address="steps.b", duration_s=75, time=START + 75),
    ):
        view.apply(event)
    a, b = rows(view=view)[2:]
    assert (a.fraction, a.elapsed, a.left) == (0.5, "0:20", "~20s")
    assert (b.fraction, b.elapsed, b.left) == (None, "1m15s", "")


def test_an_orphan_is_marked_and_counts_for_nothing() -> None:
    view = RunView()
    view.apply(started(planned("exports.a"), planned("exports.old", Action.ORPHAN)))
    section = next(row for row in rows(view=view) if row.key == "exports")
    assert dict(section.amounts) == {NodeState.QUEUED: 1}
    assert next(row for row in rows(view=view) if row.key == "exports.old").sign == "-"


def test_what_was_stopped_is_not_among_what_failed() -> None:
    view = RunView()
    for event in (
        started(planned("models.a"), planned("models.b")),
        NodeFailed(address="models.a", cause="stopped", interrupted=True, time=START),
        NodeFailed(address="models.b", cause="boom", time=START),
    ):
        view.apply(event)
    assert keys(rows(Wish(show=Show.FAILED), view)) == ["", "models", "models.b"]
    section = next(row for row in rows(view=view) if row.sort is RowSort.SECTION)
    assert dict(section.amounts) == {NodeState.FAILED: 1, NodeState.STOPPED: 1}
