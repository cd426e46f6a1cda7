"""What a run that is over says to those who ask something of it."""

from __future__ import annotations

from specrun.tui.acting import Act, why_not
from specrun.views.run_view import RunView
from tests.support.synthetic_run import finished_coral_run


def test_after_the_end_the_command_that_tries_a_node_again_is_told() -> None:
    view = RunView()
    for event in finished_coral_run():
        view.apply(event)
    node = next(iter(view.nodes.values()))
    assert why_not(Act.RETRY, node, view) == (
        f"the run is over; `specrun apply --target {node.address.text}` tries it again"
    )
    assert why_not(Act.CANCEL, node, view) == "the run is over"
