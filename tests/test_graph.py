import pytest

from specrun.graph import CycleError, expand_matrix, topological_order, with_dependents, with_needs
from specrun.model.address import Address


def graph(text: str) -> dict[Address, list[Address]]:
    """`a: b c` a line: a needs b and c."""
    needs = {}
    for line in text.strip().splitlines():
        name, _, below = line.partition(":")
        needs[Address("steps", name.strip())] = [Address("steps", word) for word in below.split()]
    return needs


def names(addresses: object) -> str:
    return " ".join(address.name for address in addresses)  # type: ignore[attr-defined]


def test_needs_come_first_and_the_given_order_is_kept_otherwise() -> None:
    assert names(topological_order(graph("d: b\nc:\na:\nb: c"))) == "c a b d"


def test_a_node_comes_as_early_as_the_given_order_allows() -> None:
    assert names(topological_order(graph("a: z\nb:\nz:\nc:"))) == "b z a c"


def test_needs_outside_the_graph_are_ignored() -> None:
    assert names(topological_order(graph("a: gone"))) == "a"


def test_a_cycle_is_raised_with_its_path_and_without_what_only_leads_to_it() -> None:
    with pytest.raises(CycleError) as caught:
        topological_order(graph("start: a\na: b\nb: c\nc: a\nfree:"))
    assert names(caught.value.path) == "a b c a"


def test_a_chain_of_twenty_thousand_nodes_is_ordered_without_recursion() -> None:
    chain = {Address("steps", f"s{i}"): [Address("steps", f"s{i + 1}")] for i in range(20_000)}
    order = topological_order(chain)
    assert (order[0].name, order[-1].name) == ("s19999", "s0")


def test_closures_follow_needs_up_and_dependents_down() -> None:
    needs = graph("a:\nb: a\nc: b\nd: a\ne:")
    assert set(names(with_needs(needs, [Address("steps", "c")])).split()) == {"a", "b", "c"}
    assert set(names(with_dependents(needs, [Address("steps", "b")])).split()) == {"b", "c"}
    assert with_needs(needs, []) == set()


def test_a_matrix_expands_in_the_order_of_its_values_whatever_the_order_of_its_keys() -> None:
    expected = [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert expand_matrix({"b": ["x", "y"], "a": [1, 2]}) == expected
    assert expand_matrix({"a": [1, 2], "b": ["x", "y"]}) == expected


def test_a_matrix_without_keys_is_one_empty_combination() -> None:
    assert expand_matrix({}) == [{}]
