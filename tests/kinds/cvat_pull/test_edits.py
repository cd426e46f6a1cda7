from specrun.kinds.cvat_pull.edits import edits_between, edits_text


def shape(id, *points, label=1, frame=0, **more):
    return {"id": id, "frame": frame, "label_id": label, "type": "rectangle", "points": list(points), **more}


def edits(before, now):
    return edits_text(edits_between({"shapes": before}, {"shapes": now}))


def test_what_people_changed_is_counted_by_its_sort_whatever_ids_the_server_gives():
    before = [shape(1, 0, 0, 5, 5), shape(2, 10, 10, 20, 20), shape(3, 30, 30, 40, 40), shape(4, 50, 50, 60, 60)]
    now = [
        shape(1, 0, 0, 5, 5),
        shape(11, 10, 10, 22, 22),
        shape(12, 30, 30, 40, 40, label=2),
        shape(13, 50, 50, 60, 60, occluded=True),
        shape(14, 1, 1, 2, 2, frame=1),
    ]
    assert edits(before, now) == "1 moved, 1 relabelled, 1 changed, 1 new"
    assert edits(before, before[1:]) == "1 deleted"
    assert edits(before, [{**one, "id": one["id"] + 100} for one in before]) == ""


def test_tracks_skeletons_and_tags_count_too():
    track = {"id": 1, "frame": 0, "label_id": 1, "shapes": [shape(5, 0, 0, 5, 5)]}
    further = {**track, "shapes": [shape(6, 0, 0, 9, 9)]}
    before = {"tracks": [track], "tags": [{"id": 1, "frame": 0, "label_id": 1}]}
    assert edits_between(before, {"tracks": [further], "tags": []}) == {"moved": 1, "deleted": 1}
    point = {"frame": 0, "label_id": 7, "type": "points"}
    one = shape(1, type="skeleton", elements=[{**point, "points": [1, 1]}])
    assert edits([one], [{**one, "elements": [{**point, "points": [2, 2]}]}]) == "1 moved"
