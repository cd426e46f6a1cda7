"""A loss over several processes is that of all their images, here two, joined by gloo. Slow: each imports torch."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from specrun.training.smp.losses import SumOfLosses, loss_terms  # noqa: E402 (needs torch)


def _work(rank: int, place: str, cases: list[tuple[str, str]]) -> None:
    from torch import distributed

    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{place}", rank=rank, world_size=2)
    random = torch.Generator().manual_seed(0)
    images = torch.randn((5, 3, 8, 8), generator=random)
    target = torch.randint(0, 3, (5, 8, 8), generator=random)
    target[:, :2] = 255
    target[4] = 255
    parts = [slice(0, 4), slice(4, 5)]  # the second process has nothing that counts
    for name, activation in cases:
        for mine in (parts[rank], [slice(0, 3), slice(3, 5)][rank]):
            whole = torch.tensor(0.7, requires_grad=True)
            own = torch.tensor(0.7, requires_grad=True)
            weights = [0.5, 1.0, 2.0]
            terms = loss_terms(name)
            expected = SumOfLosses(terms, activation, 255, weights, 3)(images * whole, target)
            found = SumOfLosses(terms, activation, 255, weights, 3, world=2)(images[mine] * own, target[mine])
            expected.backward()
            found.backward()
            distributed.all_reduce(own.grad)
            assert torch.allclose(found, expected, rtol=1e-5), (name, activation)
            assert torch.allclose(own.grad / 2, whole.grad, rtol=1e-4, atol=1e-6), (name, activation)
    distributed.destroy_process_group()


_NAMES = ("cross_entropy", "dice", "focal", "tversky", "jaccard", "lovasz")


@pytest.mark.slow
def test_value_and_gradient_are_those_of_one_process(tmp_path) -> None:  # type: ignore[no-untyped-def]
    cases = [(name, activation) for name in _NAMES for activation in ("softmax", "sigmoid")]
    torch.multiprocessing.spawn(_work, (str(tmp_path / "meet"), cases), nprocs=2)
