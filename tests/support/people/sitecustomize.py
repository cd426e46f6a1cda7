"""On the PYTHONPATH of a specrun of its own and so of its workers: a section of nodes that wait for people."""

from specrun.kinds.registry import REGISTRY
from specrun.spec.section import Section

REGISTRY["reviews"] = Section("reviews", {"review": "review:Review"}, default="review", title="What people look at.")
