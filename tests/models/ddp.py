"""Trains every architecture for an epoch over two processes, and predicts; run by torchrun, one process each.

python -m torch.distributed.run --nproc_per_node 2 -m tests.models.ddp EMO_DB_FOLDER WORK_FOLDER
"""

from __future__ import annotations

import inspect
import itertools
import sys
from pathlib import Path

import lightning as L
import torch
import torch.distributed

from ser_zoo.data import SERDataModule
from ser_zoo.evaluation import part_processes
from ser_zoo.models import list_models, model_class
from ser_zoo.models.optim import Optim
from tests.models.small import small_model


def main(corpus: str, folder: str) -> None:
    """Print a line per architecture: its name, and whether both processes ended with the same trained parameters and had
    each test utterance once between them.
    """
    resting = {"finetune_from": 2, "optim": Optim(schedule="cosine", encoder_rest=0.5)}
    for name, settings in [*((name, {}) for name in list_models()), ("cross_attn", resting)]:
        rate = inspect.signature(model_class(name)).parameters["sample_rate"].default
        data = SERDataModule("emo_db", corpus, batch_size=16, sample_rate=rate, seed=0)
        model = small_model(name, Path(folder), classes=len(data.labels), **settings)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "enable_model_summary": False}
        # Six clips to validate and six to test, fewer than a batch: there is one for each process all the same.
        trainer = L.Trainer(max_epochs=1, limit_train_batches=2, accelerator="cpu", devices=2, strategy="ddp", **quiet)
        before = [parameter.detach().clone() for parameter in model.parameters() if parameter.requires_grad]
        trainer.fit(model, datamodule=data)
        after = [parameter.detach() for parameter in model.parameters() if parameter.requires_grad]
        flat = torch.cat([parameter.flatten() for parameter in after])
        parts = [torch.zeros_like(flat) for _ in range(2)]
        torch.distributed.all_gather(parts, flat)
        moved = any(not torch.equal(one, other) for one, other in zip(before, after, strict=True))
        own = [utterance for batch in trainer.predict(model, datamodule=data) or [] for utterance in batch["ids"]]
        shares: list[list[str]] = [[], []]
        torch.distributed.all_gather_object(shares, own)
        once = all(shares) and sorted(itertools.chain(*shares)) == sorted(row.id for row in data.split.test)
        if trainer.is_global_zero:
            case = f"{name} resting" if settings else name
            found = f"trained={moved} alike={torch.equal(*parts)} predicted={once} world={trainer.world_size}"
            print(f"{case} {found}", flush=True)
    part_processes()


if __name__ == "__main__":
    main(*sys.argv[1:])
