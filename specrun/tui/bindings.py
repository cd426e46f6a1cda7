"""The keys that work everywhere in the dashboard. An entry without a label is a second key of the one above."""

from __future__ import annotations

from textual.binding import Binding

from specrun.tui.acting import Act

APP_BINDINGS = (
    Binding("slash", "find", "find", tooltip="filter the nodes, or search the log"),
    Binding("c", "cancel", "cancel", tooltip="cancel the node (asks)"),
    Binding("R", "retry", "retry", tooltip="try a failed node again"),
    Binding("p", "pause", "pause", tooltip="pause or go on: nothing new starts"),
    Binding("P", "prioritise", "let a queued node go first", show=False),
    Binding("o", "open_output", "output", tooltip="open the output, or the chosen artifact"),
    Binding("y", "copy", "copy marked text, or what is shown", show=False),
    Binding("J", "walk(1)", "next, previous node", show=False, key_display="J K"),
    Binding("K", "walk(-1)", show=False),
    Binding("1", "tab(0)", "the tabs", show=False, key_display="1–5"),
    *(Binding(str(number + 1), f"tab({number})", show=False) for number in range(1, 5)),
    Binding("left_square_bracket", "turn(-1)", "previous, next tab", show=False, key_display="[ ]"),
    Binding("right_square_bracket", "turn(1)", show=False),
    Binding("tab", "app.focus_next", "next pane", show=False),
    Binding("z", "zoom", "full screen", show=False),
    Binding("m", "machine", "hide or show the machine", show=False),
    Binding("t", "theme", "dark or light", show=False),
    Binding("ctrl+p", "command_palette", "commands", show=False),
    Binding("Q", "stop_run", "stop the run (asks)", show=False),
    Binding("escape", "step_back", show=False),
    Binding("ctrl+c", "interrupt", show=False, priority=True),
    Binding("question_mark", "help", "help", tooltip="these keys"),
    Binding("q", "leave", "leave", tooltip="leave; the run goes on"),
)

ACT_OF = {
    "cancel": Act.CANCEL,
    "retry": Act.RETRY,
    "pause": Act.PAUSE,
    "prioritise": Act.PRIORITISE,
    "open_output": Act.OPEN,
    "stop_run": Act.STOP,
}
"""Actions that may be refused, and what they ask for."""
OF_A_RUN = frozenset(ACT_OF) - {"open_output"}
"""They mean nothing once the run is over."""
