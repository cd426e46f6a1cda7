import pytest

from specrun.clients.cvat.things import AttributeDef, LabelDef
from specrun.errors import NodeError
from specrun.kinds.cvat_send.labels import WantedAttribute, WantedLabel, plan_labels, skeleton_svg

CORAL = LabelDef(1, "coral", "#e6194b", "polygon")


def plan(there, wanted, rename=None):
    return plan_labels(there, wanted, rename or {}, "reef")


def test_nothing_is_asked_for_labels_that_are_there():
    assert plan([CORAL], [WantedLabel("coral", "polygon", "#E6194B")]).patches == ()


def test_labels_are_added_and_those_that_nobody_wants_stay():
    found = plan([CORAL], [WantedLabel("sand", "mask")])
    assert found.patches == ({"name": "sand", "type": "mask", "attributes": []},)
    assert found.sentences() == ["labels added: sand"]


def test_a_colour_and_an_attribute_are_given_to_a_label_that_is_there():
    number = WantedAttribute("confidence", "number", ("0", "100", "1"), "100")
    (patch,) = plan([CORAL], [WantedLabel("coral", "polygon", "#000001", (number,))]).patches
    assert patch == {"id": 1, "name": "coral", "color": "#000001", "attributes": [number.to_json()]}


def test_choices_are_added_to_those_that_are_there():
    there = LabelDef(1, "coral", "", "any", (AttributeDef(5, "health", "select", ("good", "bad"), "good"),))
    wanted = WantedLabel("coral", "any", None, (WantedAttribute("health", "select", ("bad", "dead"), "bad"),))
    ((attribute,),) = (patch["attributes"] for patch in plan([there], [wanted]).patches)
    assert (attribute["id"], attribute["values"], attribute["default_value"]) == (5, ["good", "bad", "dead"], "good")


def test_a_label_is_renamed_only_where_the_spec_says_so():
    wanted = [WantedLabel("acropora", "polygon", "#e6194b")]
    assert [patch.get("id") for patch in plan([CORAL], wanted).patches] == [None]
    assert plan([CORAL], wanted, {"coral": "acropora"}).patches == ({"id": 1, "name": "acropora"},)
    done = LabelDef(1, "acropora", "#e6194b", "polygon")
    assert plan([done], wanted, {"coral": "acropora"}).patches == ()


def test_every_label_that_cannot_be_brought_in_line_is_named():
    skeleton = LabelDef(2, "corner", "", "skeleton", sublabels=(LabelDef(3, "TL", "", "points"),))
    wanted = [WantedLabel("coral", "mask"), WantedLabel("corner", "skeleton", points=("TL", "BR"))]
    with pytest.raises(NodeError) as caught:
        plan([CORAL, skeleton], wanted)
    assert '"coral" is there with type polygon and is wanted as mask' in caught.value.message
    assert 'the skeleton "corner" lacks BR' in caught.value.message


def test_a_name_that_is_taken_is_not_renamed_to():
    with pytest.raises(NodeError, match='cannot be renamed, since there is a label "sand" already'):
        plan([CORAL, LabelDef(2, "sand", "", "polygon")], [WantedLabel("sand", "polygon")], {"coral": "sand"})


def test_a_label_of_any_shape_serves_every_shape_but_a_skeleton():
    there = LabelDef(1, "coral", "", "any")
    assert plan([there], [WantedLabel("coral", "polygon")]).patches == ()
    with pytest.raises(NodeError, match="wanted as a skeleton"):
        plan([there], [WantedLabel("coral", "skeleton", points=("a",))])


def test_the_drawing_of_a_skeleton_joins_its_points_by_their_numbers():
    svg = skeleton_svg(("TL", "BR"), (("TL", "BR"),), {"TL": (0, 0), "BR": (1, 1)})
    line, first, second = svg.removesuffix(">").split("><")[0::2]
    assert 'x1="10" y1="10" x2="90" y2="90"' in line
    assert 'data-node-from="1" data-node-to="2"' in line
    assert 'cx="10" cy="10"' in first
    assert 'data-node-id="2" data-label-name="BR"' in second
