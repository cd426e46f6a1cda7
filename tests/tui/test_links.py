import pytest
from rich.style import Style

from specrun.tui.links import linked_paragraph, links_in

URL = "https://cvat.example.org/tasks/17?page=2"


@pytest.mark.parametrize("text", [f"open ({URL}).", f"{URL}, please", f"see '{URL}'"])
def test_a_link_ends_before_what_closes_the_sentence(text: str) -> None:
    assert links_in(text) == [URL]


@pytest.mark.parametrize("text", ["ftp://x.org/a", "javascript:alert(1)", "http://", "plain"])
def test_nothing_else_is_a_link(text: str) -> None:
    assert links_in(text) == []


def test_a_broken_link_leads_to_the_whole_of_it_from_every_piece() -> None:
    lines = linked_paragraph(f"task 17: {URL}", 30, (Style(), Style()))
    pieces = [span for line in lines for span in line if span[1].link]
    assert "".join(text for text, _ in pieces) == URL
    assert {style.link for _, style in pieces} == {URL}
    assert all(sum(len(text) for text, _ in line) <= 30 for line in lines)
