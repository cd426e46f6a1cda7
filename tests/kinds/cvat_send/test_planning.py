from dataclasses import replace
from pathlib import Path

from specrun.clients.cvat.things import Frame
from specrun.kinds.cvat_send.ledger import Ledger, Marker, Phase, batch_id
from specrun.kinds.cvat_send.planning import Naming, choose, frame_names, plan_work, rebuilt_batch
from specrun.model.labels import Sample

NAMING = Naming("{subset}_{batch:02d}", "{split}", "photos")


def sample(name, digest=None, split="train"):
    return Sample(
        key=f"s/{name}",
        media=Path("/p") / name,
        name=name,
        digest=digest or f"blake2b:{name}",
        size_wh=(8, 6),
        split=split,
    )


class Memory(dict):
    def remember(self, key, value):
        self[key] = value

    def recall(self, key):
        return self.get(key)


def ledger_of(*batches, memory=None):
    ledger = Ledger(Memory() if memory is None else memory, "host/1")
    for batch in batches:
        ledger.save(batch)
    return ledger


def test_batches_follow_splits_and_keys_and_are_named_within_their_subset():
    samples = [sample(f"{n}.jpg") for n in (3, 1, 2)] + [sample("v.jpg", split="val"), sample("n.jpg", split=None)]
    work = plan_work(samples, ledger_of(), NAMING, 2)
    assert [(batch.name, batch.subset, [frame.name for frame in batch.frames]) for batch in work.new] == [
        ("train_01", "train", ["1.jpg", "2.jpg"]),
        ("train_02", "train", ["3.jpg"]),
        ("val_01", "val", ["v.jpg"]),
        ("01", "", ["n.jpg"]),
    ]


def test_the_next_batches_count_on_and_hold_what_was_not_sent():
    first = plan_work([sample("1.jpg"), sample("2.jpg")], ledger_of(), NAMING, 1)
    ledger = ledger_of(*(replace(batch, phase=Phase.DONE) for batch in first.new))
    work = plan_work([sample("1.jpg"), sample("2.jpg"), sample("3.jpg")], ledger, NAMING, 1)
    assert [batch.name for batch in work.new] == ["train_03"]
    assert (work.known, work.unfinished) == (2, ())


def test_an_unfinished_batch_comes_first_as_it_was_planned():
    (begun,) = plan_work([sample("1.jpg")], ledger_of(), NAMING, 5).new
    work = plan_work([sample("1.jpg"), sample("2.jpg")], ledger_of(begun), NAMING, 5)
    assert work.unfinished == (begun,)
    assert [frame.name for batch in work.new for frame in batch.frames] == ["2.jpg"]


def test_the_ledger_is_read_back_as_it_was_written():
    memory = Memory()
    (batch,) = plan_work([sample("1.jpg")], ledger_of(), NAMING, 5).new
    saved = replace(batch, task_id=4, phase=Phase.LOADED, labels={"d": "x"}, jobs={"1": "date"}, replacing={"1": [2]})
    ledger_of(saved, memory=memory)
    assert list(Ledger(memory, "host/1")) == [saved]
    assert list(Ledger(memory, "host/2")) == []


def test_equal_base_names_carry_a_piece_of_their_content():
    names = frame_names([sample("x/a.JPG", "h:111111aa"), sample("y/A.jpg", "h:222222bb"), sample("z/b.jpg", "h:3")])
    assert names == {"h:111111aa": "a~111111.JPG", "h:222222bb": "A~222222.jpg", "h:3": "b.jpg"}


def test_names_hold_nothing_that_a_server_would_change():
    odd = replace(sample('a\\b"c&amp;\n.jpg'), media=Path("/p/x.png"))
    (name,) = frame_names([odd]).values()
    assert name == "a_b_c&_.jpg.png"


def test_uncertain_takes_the_least_sure_first_and_those_without_labels_last():
    samples = [sample(name) for name in ("sure", "none", "unsure")]
    scores = {"blake2b:sure": 0.9, "blake2b:unsure": 0.4, "blake2b:none": None}
    assert [s.name for s in choose(samples, "uncertain", 0, scores)] == ["unsure", "sure", "none"]


def test_a_random_choice_does_not_change_when_images_are_added():
    samples = [sample(str(n)) for n in range(50)]
    first = [s.name for s in choose(samples, "random", 7, {})]
    more = [s.name for s in choose([*samples, sample("new")], "random", 7, {}) if s.name != "new"]
    assert first == more
    assert first != [s.name for s in choose(samples, "random", 8, {})]


def test_a_marker_is_read_back_and_other_texts_are_none():
    marker = Marker("corals", "cvat_projects.round1[model=a/b]", "0f" * 8, making=True)
    assert str(marker) == f"specrun:corals/cvat_projects.round1[model=a/b]/{'0f' * 8}#making"
    assert Marker.parse(str(marker)) == marker
    assert Marker.parse("https://github.com/x/y/issues/1") is None
    assert Marker.parse("specrun:odd") is None


def test_a_task_is_rebuilt_by_names_and_sizes():
    samples = [sample("x/a.jpg", "h:1"), sample("b.jpg", "h:2"), sample("c.jpg", "h:3")]
    frames = [Frame(0, "a.jpg", 8, 6), Frame(1, "b.jpg", 9, 9), Frame(2, "gone.jpg", 8, 6)]
    marker = Marker("p", "cvat_projects.r", batch_id(["h:1", "h:2"]))
    batch = rebuilt_batch(12, "train_01", "train", marker, frames, samples)
    assert [(frame.name, frame.digest) for frame in batch.frames] == [("a.jpg", "h:1"), ("b.jpg", ""), ("gone.jpg", "")]
    assert (batch.phase, batch.task_id, batch.id) == (Phase.DONE, 12, marker.batch)
