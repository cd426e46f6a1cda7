from specrun.formats.tally import Tally


def test_counts_become_sentences_with_the_right_number():
    tally = Tally()
    tally.add("polyline", "{are} not part of COCO", 12)
    tally.add("box", "{are} written as {their} corners", 1)
    tally.add("box", "{were} dropped", 1200)
    tally.add("tag", "{are} gone", 0)
    assert tally.notes() == (
        "1 box is written as its corners",
        "1,200 boxes were dropped",
        "12 polylines are not part of COCO",
    )
