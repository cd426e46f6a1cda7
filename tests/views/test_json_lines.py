import json

from specrun.model.event import LogLine, event_from_json
from specrun.views.json_lines import JsonLinesPrinter
from tests.support.synthetic_run import finished_coral_run


def test_the_first_line_names_the_format_and_every_event_comes_back_as_it_was() -> None:
    written: list[str] = []
    printer = JsonLinesPrinter(written.append)
    events = finished_coral_run()[1:200]
    for event in events:
        printer.handle(event)
    lines = "".join(written).splitlines()
    assert json.loads(lines[0]) == {"type": "Journal", "format": 1}
    assert [event_from_json(json.loads(line)) for line in lines[1:]] == events


def test_the_header_comes_even_without_events_and_only_once() -> None:
    written: list[str] = []
    printer = JsonLinesPrinter(written.append)
    printer.begin()
    printer.begin()
    assert written == ['{"type": "Journal", "format": 1}\n']


def test_an_event_is_one_line_that_cannot_steer_a_terminal() -> None:
    written: list[str] = []
    printer = JsonLinesPrinter(written.append)
    hostile = "a\nb\x1b[2J\x9b31m\u2028\u202e"
    printer.handle(LogLine(address="a.b", text=hostile))
    line = written[1]
    assert line.count("\n") == 1
    assert all(character.isprintable() for character in line[:-1])
    assert json.loads(line)["text"] == hostile
