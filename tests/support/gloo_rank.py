"""A rank as specrun/training/ultralytics/rank.py, on the CPU: `python gloo_rank.py JOB`.

The library's trainer insists on GPUs for several ranks; here it is told that `0,1` are the CPU, joined by gloo.
OOM_RANK=n with OOM_ABOVE=m: that rank is out of memory above m images. DIE_RANK=n: it is killed in its second epoch.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from specrun.training.ultralytics import environment, rank
from tests.support.training_job import short_of_memory


def on_the_cpu() -> None:
    import torch
    from torch import distributed
    from ultralytics.engine import trainer, validator  # in the prepared environment

    begin = trainer.BaseTrainer.__init__
    parallel = trainer.nn.parallel.DistributedDataParallel

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self.world_size = int(os.environ["WORLD_SIZE"])

    def join(self: Any) -> None:
        distributed.init_process_group("gloo", rank=trainer.RANK, world_size=self.world_size)

    def wrap(model: Any, device_ids: Any = None, **options: Any) -> Any:
        return parallel(model, **options)

    backend = validator.AutoBackend
    validator.AutoBackend = lambda **options: backend(**{**options, "device": torch.device("cpu")})
    validator.get_torch_device_backend = lambda _: SimpleNamespace(current_device=lambda: 0)
    trainer.select_device = lambda *_, **__: torch.device("cpu")
    trainer.BaseTrainer.__init__ = init
    trainer.BaseTrainer._setup_ddp = join
    trainer.nn.parallel.DistributedDataParallel = wrap


def die_in_the_second_epoch() -> None:
    from ultralytics.engine import trainer  # in the prepared environment

    begin = trainer.BaseTrainer._model_train

    def model_train(self: Any) -> None:
        if self.epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        begin(self)

    trainer.BaseTrainer._model_train = model_train


def main() -> int:
    join = rank.join_ultralytics
    number = os.environ["RANK"]

    def join_on_the_cpu(threads: int) -> Any:
        module = join(threads)
        if os.environ["WORLD_SIZE"] != "1":
            on_the_cpu()
        if os.environ.get("OOM_RANK") == number:
            short_of_memory(int(os.environ["OOM_ABOVE"]), int(os.environ.get("OOM_EPOCH", "1")))
        if os.environ.get("DIE_RANK") == number:
            die_in_the_second_epoch()
        return module

    assert rank.join_ultralytics is environment.join_ultralytics
    rank.join_ultralytics = join_on_the_cpu
    return rank.main(Path(sys.argv[1]))


if __name__ == "__main__":
    sys.exit(main())
