"""The nearest of the words that would have been right."""

from __future__ import annotations

import pytest

from specrun.spec.suggest import nearest

_OPTIMIZERS = ("Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "ASGD", "NAdam", "RAdam", "SGD")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("adma", "Adam"),
        ("adamv", "Adam"),
        ("adanw", "AdamW"),
        ("admax", "Adamax"),
        ("addagrad", "Adagrad"),
        ("sdg", "SGD"),
        ("lion", None),
    ],
)
def test_one_slip_is_nearer_than_anything_else(word: str, meant: str | None) -> None:
    assert nearest(word, _OPTIMIZERS) == meant
