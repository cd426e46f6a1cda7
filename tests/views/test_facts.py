from specrun.views.facts import done_text, lower_is_better, made_text, main_score, scores


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


def test_scores_come_before_losses_and_without_how_the_training_went():
    metrics = {"train/loss": 1.3, "lr": 0.001, "images/s": 9.0, "data_wait": 0.1, "val/iou": 0.5, "val/iou/glossy": 0.4}
    assert list(scores({"metrics": metrics})) == ["val/iou", "val/iou/glossy", "train/loss"]


def test_a_class_called_glossy_is_no_loss():
    assert not lower_is_better("val/iou/glossy")
    assert all(map(lower_is_better, ("val/loss", "train/box_loss", "RMSE", "data_wait")))


def test_captions_are_told_where_there_are_some():
    facts = {"images": 12, "labels": {}, "classes": [], "captions": {"captioned": 11, "images": 12}}
    assert made_text(facts) == "12 images, 11 captioned"


def test_frames_of_a_film_are_frames_and_no_classes_are_no_news():
    assert made_text({"images": 12, "labels": {}, "classes": [], "clips": {"a.mp4": {}}}) == "12 frames"
    assert made_text({"images": 12, "labels": {}, "classes": []}) == "12 images"


def test_a_training_is_told_with_its_most_telling_number():
    metrics = {"metrics/precision(B)": 0.9, "metrics/mAP50(B)": 0.8, "metrics/mAP50-95(B)": 0.6, "train/loss": 1.0}
    assert main_score({"metrics": metrics}) == ("boxes mAP50-95", 0.6)
    assert main_score({"metrics": {"val/loss": 1.0, "val/iou/miou-fish": 0.5, "val/iou": 0.7}}) == ("val/iou", 0.7)
    assert done_text({"images": 11, "steps": 12, "validation_loss": None, "training_loss": 1.114}) == (
        "11 images, 12 steps, training loss 1.114"
    )
    assert done_text({"images": 11}) == "11 images"
