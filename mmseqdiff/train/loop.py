"""The one training loop, for denoisers and codecs alike.

Step n = 0 … steps − 1, on a batch of B examples that is a pure function of n:

    (1) gradient   g = ∇ Σ_k (B_k / B) L_k         micro-batches k of B_k examples, L_k the mean loss over them
    (2) clipping   g ← g · min(1, clip / |g|)
    (3) weights    AdamW (arXiv:1711.05101) at the rate of :mod:`mmseqdiff.train.optimisation`
    (4) average    :mod:`mmseqdiff.train.ema`

An adversary is a second network that moves at the same time, from the same forward pass: L_k then has its own terms too,
none of which reaches both networks. (2) and (3) are done for either apart, (4) for the first alone. Moving one after the
other would take a second forward pass, which micro-batches could not share.

Weights, average, optimiser and the step are all there is to save; everything random follows from (seed, step). So a run
that was killed goes on as if it had not been, bit for bit on CPU with equal threads.
"""

import math
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import attrs
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from mmseqdiff import random
from mmseqdiff.data.files import only_writer
from mmseqdiff.errors import RecipeError, RunError
from mmseqdiff.train import checkpoint
from mmseqdiff.train.ema import Average
from mmseqdiff.train.optimisation import Optimisation, computes_bfloat16
from mmseqdiff.train.parallel import World
from mmseqdiff.train.show import Show
from mmseqdiff.train.table import Table

__all__ = ["Action", "Listen", "Objective", "Trainer"]

LOG_EVERY = 25
"""Steps between two looks at the numbers on the device."""

Objective = Callable[[int, range], tuple[Tensor, Table]]
"""``(step, positions in the global batch)`` → the mean loss over these examples, and what to log."""

Listen = Callable[[str], Callable[..., None] | None]
"""Event → what tells it to whoever listens, or None; as :meth:`mmseqdiff.host.Host.listener`."""

Action = Callable[[int, nn.Module], Mapping[str, float | Show]]
"""``(steps done, averaged module)`` → what to log; validation, for example."""


@contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or a termination was asked for since; the second time it has its usual effect at once."""
    received: list[int] = []
    before: dict[int, Any] = {}

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[number])

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            before[number] = signal.signal(number, receive)
        except ValueError:  # not in the main thread: whoever called from elsewhere minds interruptions himself
            break
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@attrs.define(eq=False, kw_only=True)
class Trainer:
    """Trains a module in a folder, from where the folder's last checkpoint left off.

    Attributes:
        module: what is trained, on its device.
        objective: the loss of a part of a batch.
        optimisation: how.
        folder: gets ``checkpoints/`` and ``tensorboard/``.
        description: what the weights mean; kept in every manifest, and compared when the run is resumed.
        describe_batch: names the examples of a step, for the message when a number is not finite.
        actions: ``(period, action)``: what to do every so many steps, in every process: they may share the work.
        console: where progress goes.
        world: the processes that share the work.
        listener: who is told of steps and checkpoints.
        adversary: what is trained against the module, on the same device; None for nothing.
        adversary_rate: its learning rate over the module's.
        average: the averaged module.
        step: steps done.
    """

    module: nn.Module
    objective: Objective
    optimisation: Optimisation
    folder: Path
    description: Mapping[str, Any]
    describe_batch: Callable[[int], str]
    actions: Sequence[tuple[int, Action]] = ()
    console: Console = attrs.field(factory=Console)
    world: World = attrs.field(factory=World)
    listener: Listen = lambda event: None
    adversary: nn.Module | None = None
    adversary_rate: float = 1.0
    average: Average = attrs.field(init=False)
    step: int = attrs.field(init=False, default=0)
    _optimizer: torch.optim.AdamW = attrs.field(init=False)
    _measured: Table | None = attrs.field(init=False, default=None)
    _watched: list[tuple[int, Tensor, Tensor]] = attrs.field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        plan = self.optimisation
        if plan.batch_size % (plan.accumulate * self.world.size):
            raise RecipeError(
                f"batch_size {plan.batch_size} cannot be shared evenly by {self.world.size} processes with "
                f"{plan.accumulate} micro-batches each"
            )
        if self.adversary is not None and self.world.size > 1:
            raise RecipeError(
                "a module with an adversary is trained in one process: what the two keep of a batch is not shared"
            )
        self.average = Average(self.module, plan.ema_decay)
        groups = [self.module] if self.adversary is None else [self.module, self.adversary]
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [parameter for parameter in group.parameters() if parameter.requires_grad]}
                for group in groups
            ],
            betas=plan.betas,
            weight_decay=plan.weight_decay,
            fused=True,
        )

    @property
    def checkpoints(self) -> Path:
        """Where the checkpoints lie."""
        return self.folder / "checkpoints"

    @property
    def _device(self) -> torch.device:
        return next(self.module.parameters()).device

    @property
    def _bfloat16(self) -> bool:
        return self.optimisation.precision == "bfloat16" and computes_bfloat16(self._device)

    def _parameters(self) -> list[tuple[str, nn.Parameter]]:
        """What is optimised, by name."""
        named = list(self.module.named_parameters())
        if self.adversary is not None:
            named += [(f"adversary/{name}", value) for name, value in self.adversary.named_parameters()]
        return [(name, value) for name, value in named if value.requires_grad]

    def run(self) -> bool:
        """Trains until the last step, or until Ctrl-C; then the state is saved and the same call goes on from it.

        Returns:
            Whether the last step is done.

        Raises:
            CheckpointError: if the folder's last checkpoint is damaged or belongs to another recipe, layout or codec.
            RunError: if a loss or gradient is not finite, or a checkpoint cannot be written.
        """
        self._restore()
        if self.step < self.optimisation.steps:
            if self.optimisation.precision == "bfloat16" and not self._bfloat16:
                self._say("This processor has no instructions for bfloat16: float32 is used, which is faster here.")
            try:
                self._train()
            except OSError as error:  # a full disk while curves are written, for example
                raise RunError(f"training in {self.folder} failed at step {self.step}: {error}") from error
            self.world.wait()
        done = self.step == self.optimisation.steps
        self._say(
            f"All {self.step} steps are done."
            if done
            else f"Stopped at step {self.step} and saved; the same command goes on."
        )
        return done

    def _train(self) -> None:
        """Steps until the last one or an interruption; looks, saves and acts in between."""
        from torch.utils.tensorboard import SummaryWriter  # takes seconds to import, and only training needs it

        total, leads = self.optimisation.steps, self.world.rank == 0
        on_step, on_checkpoint = (
            self.listener(event) if leads else None for event in ("training_step", "checkpoint_saved")
        )
        with ExitStack() as stack:
            writer = None
            if leads:
                stack.enter_context(only_writer(self.folder, RunError))
                writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self.step + 1)
                stack.callback(writer.close)
            progress, interrupted = stack.enter_context(self._progress()), stack.enter_context(_interruptions())
            task = progress.add_task("", total=total, completed=self.step)
            while self.step < total:
                self._update()
                progress.advance(task)
                stop = self.world.any(interrupted(), self._device)
                save = stop or self.step == total or self.step % self.optimisation.checkpoint_every == 0
                if save or self.step % LOG_EVERY == 0:
                    scalars = self._look()
                    if on_step is not None:
                        on_step(run=self.folder, step=self.step, scalars=dict(scalars))
                    progress.update(task, description=f"loss {scalars['loss']:.4f}")
                    _write(writer, scalars, self.step)
                if save and leads:
                    path, left = self._save(), timedelta(seconds=round(progress.tasks[task].time_remaining or 0))
                    self._say(
                        f"step {self.step} of {total}: loss {scalars['loss']:.4f}, about {left} left, saved in {path}"
                    )
                    if on_checkpoint is not None:
                        on_checkpoint(run=self.folder, step=self.step, checkpoint=path)
                for period, action in self.actions:
                    if self.step % period == 0:
                        _write(writer, action(self.step, self.average.module), self.step)
                if stop:
                    break

    def _say(self, text: str) -> None:
        """One line for people, of the process that leads."""
        if self.world.rank == 0:
            self.console.print(text, soft_wrap=True, highlight=False)

    def _progress(self) -> Progress:
        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        return Progress(*columns, console=self.console, disable=self.world.rank > 0, speed_estimate_period=600)

    def _update(self) -> None:
        """One step, Eq. (1) to (4)."""
        plan, n = self.optimisation, self.step
        # What a network draws from torch's own generator (dropout) thereby follows from the step, too.
        torch.manual_seed(int(random.fold(torch.tensor(plan.seed), "generator", n, self.world.rank)))
        self.module.train()
        if self.adversary is not None:
            self.adversary.train()
        share = self.world.share(plan.batch_size)
        size, loss = len(share) // plan.accumulate, torch.zeros((), device=self._device)
        for start in range(share.start, share.stop, size):
            # Before PyTorch 2.10 weights that a pass without gradient has cast, as self-conditioning's, stay without one.
            with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16, cache_enabled=False):
                part, table = self.objective(n, range(start, start + size))
            part = part * (size / plan.batch_size)
            part.backward()
            loss += part.detach()
            self._measured = table if self._measured is None else self._measured + table
        parameters = [parameter for _, parameter in self._parameters()]
        self.world.sum([parameter.grad for parameter in parameters if parameter.grad is not None])
        self.world.sum([loss])
        norms = []
        for group, factor in zip(self._optimizer.param_groups, (1.0, self.adversary_rate)):
            norms.append(nn.utils.clip_grad_norm_(group["params"], plan.clip_norm).to(loss))
            group["lr"] = plan.rate(n) * factor
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.average.update(self.module, n)
        self._watched.append((n, loss, torch.stack(norms)))
        self.step = n + 1

    def _look(self) -> dict[str, float]:
        """Waits for the device, checks every step since the last look, and returns what to log.

        Raises:
            RunError: if a loss or a gradient was not finite. No checkpoint is written before this has passed.
        """
        rows = torch.stack([torch.cat([loss[None], norms]) for _, loss, norms in self._watched]).tolist()
        for (n, _, _), (loss, *norms) in zip(self._watched, rows):
            if not all(map(math.isfinite, (loss, *norms))):
                norm = " and the adversary's ".join(map(str, norms))
                last = checkpoint.newest(self.checkpoints)
                kept = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
                raise RunError(
                    f"step {n}: the loss is {loss} and the gradient's norm {norm}, on the batch of "
                    f"{self.describe_batch(n)}. Stopped; {kept}. A lower learning rate, or float32, may help"
                )
        self.world.sum([self._measured.sums, self._measured.counts])
        losses, *norms = zip(*rows)
        plan = self.optimisation
        names = ("optimisation/gradient norm", "optimisation/adversary's gradient norm")
        scalars = {
            "loss": sum(losses) / len(losses),
            **{name: sum(values) / len(values) for name, values in zip(names, norms)},
            "optimisation/learning rate": plan.rate(self.step - 1),
            **self._measured.means(),
        }
        self._watched.clear()
        self._measured = None
        return scalars

    def _save(self) -> Path:
        """Writes the checkpoint of this step."""
        state = {
            f"{name}/{key}": value
            for name, parameter in self._parameters()
            for key, value in self._optimizer.state[parameter].items()
        }
        groups = {"weights": self.module.state_dict(), "ema": self.average.module.state_dict(), "optimizer": state}
        if self.adversary is not None:
            groups["adversary"] = self.adversary.state_dict()
        return checkpoint.save(self.checkpoints, self.step, groups, self.description)

    def _restore(self) -> None:
        """Takes up the last checkpoint, if there is one."""
        path = checkpoint.newest(self.checkpoints)
        if path is None:
            return
        manifest = checkpoint.read_manifest(path)
        checkpoint.check_description(manifest, self.description, str(self.folder))
        checkpoint.load_into(self.module, checkpoint.load_group(path, "weights"), str(path))
        checkpoint.load_into(self.average.module, checkpoint.load_group(path, "ema"), str(path))
        if self.adversary is not None:
            checkpoint.load_into(self.adversary, checkpoint.load_group(path, "adversary"), str(path))
        saved = checkpoint.load_group(path, "optimizer")
        for name, parameter in self._parameters():
            self._optimizer.state[parameter] = {
                key.removeprefix(f"{name}/"): value.to(self._device)
                for key, value in saved.items()
                if key.rpartition("/")[0] == name
            }
        self.step = manifest["step"]
        self._say(f"{self.folder} is at step {self.step} of {self.optimisation.steps}.")


def _write(writer: Any, values: Mapping[str, float | Show], step: int) -> None:
    if writer is not None:
        for name, value in values.items():
            if isinstance(value, Show):
                value.write(writer, name, step)
            else:
                writer.add_scalar(name, value, step)
