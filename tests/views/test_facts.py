from specrun.views.facts import made_text


def test_no_labels_are_told_as_well_as_many():
    assert made_text({"images": 6, "labels": {}, "classes": ["coral"]}) == "6 images, 0 labels, 1 class"
    assert made_text({"images": 6, "labels": {}}) == "6 images"
    assert made_text({"images": 6, "labels": {"coral": 2, "sand": 1}}) == "6 images, 3 labels"


def test_splits_stand_in_the_order_in_which_people_say_them():
    assert made_text({"splits": {"rest": 2, "test": 1, "val": 3, "train": 11}}) == "train 11, val 3, test 1, rest 2"


def test_what_was_sent_is_told_with_its_labels():
    facts = {"records": 20, "chosen": 6, "uploaded": 6, "labels_sent": 45, "skipped": 0, "failed": []}
    assert made_text(facts) == "20 records, 6 chosen, 6 uploaded, 45 labels sent, 0 skipped, 0 failed"
    assert made_text({"labels_sent": 1}) == "1 label sent"
