import pytest

from specrun.tui.log_layout import LongLines, cut, rows_of, without_bar
from specrun.views.text import cells

EPOCH = "   40/40      0G     0.2972     0.1742     0.3342   36     128: 100% ━━━━━━━━━━━━ 8/8 7.6it/s 1.0s"


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        (EPOCH, "   40/40      0G     0.2972     0.1742     0.3342   36     128: 100% 8/8 7.6it/s 1.0s"),
        (" 45%|████▌     | 45/100 [00:12<00:13, 4.1it/s]", " 45% 45/100 [00:12<00:13, 4.1it/s]"),
        ("Epoch 3:  50% [=====>    ] 5/10", "Epoch 3:  50% 5/10"),
        ("5% of ------------ is text", "5% of ------------ is text"),
        ("━━━━━━━━━━━━ 1.2/1.2 MB", "━━━━━━━━━━━━ 1.2/1.2 MB"),
    ],
)
def test_a_drawn_bar_is_left_out_and_its_numbers_stay(drawn: str, said: str) -> None:
    assert without_bar(drawn) == said


def test_prose_wraps_at_words_below_its_own_indentation() -> None:
    rows = rows_of("    Optimizer stripped from /data/outputs/models/yolo/weights/last.pt", 40, LongLines.FITTED)
    assert rows == ["    Optimizer stripped from", "      /data/outputs/models/yolo/weights/", "      last.pt"]


def test_a_table_stays_one_row_unless_wrapping_is_asked_for() -> None:
    assert rows_of(EPOCH, 40, LongLines.FITTED) == [EPOCH]
    assert len(rows_of(EPOCH, 40, LongLines.WRAPPED)) > 2


def test_an_endless_line_takes_few_rows_and_says_what_is_left() -> None:
    text = ", ".join(f"key_{index}=value" for index in range(200))
    rows = rows_of(text, 60, LongLines.FITTED)
    assert len(rows) == 5
    assert rows[-1].endswith("characters more: w shows them")
    assert "".join(rows_of(text, 60, LongLines.WRAPPED)).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("text", [EPOCH, "日本語のログ " * 20, "x" * 500, "    at " + "/deep" * 60])
@pytest.mark.parametrize("width", [1, 2, 7, 40, 79])
def test_what_is_wrapped_fits(text: str, width: int) -> None:
    assert all(cells(row) <= max(width, 2) for row in rows_of(text, width, LongLines.WRAPPED))


def test_a_cut_row_says_on_which_side_there_is_more() -> None:
    assert cut("abcdefghij", 0, 5) == "abcd…"
    assert cut("abcdefghij", 3, 5) == "…efg…"
    assert cut("abcdefghij", 6, 5) == "…hij"
    assert cut("", 6, 5) == ""
