"""An adversarial training method on unpaired pictures, written as a user would; as a script, `derain` with it.

A network removes rain; a critic learns to tell what it restores from clean pictures of other scenes (least squares,
Mao et al. 2017). Environment variable KILL_AT_STEP: the process kills itself in that step.
"""

import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from rich.console import Console
from torch import Tensor, nn

from derain.data.unpaired import UnpairedBatch
from derain.imaging.io import read_image
from derain.models.network import RestorationNetwork
from derain.settings import Settings
from derain.train.accelerator import Accelerator
from derain.train.corpus import read_corpus
from derain.train.learning_data import UnpairedData
from derain.train.methods.method import Method, Preparation, StepResult
from derain.train.methods.registry import METHODS
from derain.train.network import build_network
from derain.train.settings import TrainSettings
from derain.train.state import read_modules


class AdversarialSettings(Settings):
    """The method's own settings."""

    content_weight: float = Field(default=1.0, ge=0)
    """Weight of the L1 between the restored picture and its input, both blurred."""
    noise: float = Field(default=0.02, ge=0)
    """Standard deviation of noise on what the critic sees."""
    start: Path | None = None
    """State of an earlier run of this method, whose networks this one begins with."""
    enough: float | None = None
    """Loss of the critic below which there is nothing more to learn."""
    validation: Literal["pairs", "darkness"] = "pairs"
    """By pairs of split `val`, or by how dark its rainy pictures are once they are restored."""


class Critic(nn.Sequential):
    """Judges patches; (B, 3, H, W) to (B, 1, H/4, W/4), 1 for clean."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 8, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(8, 16, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(16, 1, 3, padding=1),
        )


@dataclass(frozen=True)
class Darkness:
    """A validation result without a single pair."""

    score: float

    def numbers(self) -> dict[str, float]:
        return {"darkness": self.score}

    def summary(self) -> str:
        return f"darkness {self.score:.4f}"


class DarknessValidation:
    """Rain brightens these pictures, so the darker a restored one, the better."""

    def __init__(self, settings: TrainSettings) -> None:
        self.corpus = read_corpus(settings.data, "val")

    def __call__(self, module: nn.Module) -> Darkness:
        files = [pair.rainy for rows in self.corpus.pairs for pair in rows]
        with torch.no_grad():
            restored = [module(read_image(file)[0][None, :, :32, :32]) for file in files]
        return Darkness(1 - float(torch.stack(restored).mean()))

    def digest(self) -> str | None:
        return self.corpus.digest()


class Adversarial:
    """Two networks, two optimizers."""

    def __init__(
        self,
        settings: TrainSettings,
        options: AdversarialSettings,
        accelerator: Accelerator,
        network: RestorationNetwork,
        critic: Critic,
    ) -> None:
        self.settings = settings
        self.options = options
        self.accelerator = accelerator
        self.network = accelerator.place(network)
        self.critic = accelerator.place(critic)
        self.network_optimizer = torch.optim.Adam(self.network.parameters())
        self.critic_optimizer = torch.optim.Adam([{"params": list(self.critic.parameters()), "lr_scale": 5.0}])
        self.best: dict[str, float] = {}
        """How clean the critic has found each rainy picture at best."""
        self.has_learnt_enough = False

    def modules(self) -> dict[str, nn.Module]:
        return {"network": self.network, "critic": self.critic}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"network": self.network_optimizer, "critic": self.critic_optimizer}

    def exported(self) -> RestorationNetwork:
        return self.network.eval()

    def is_finished(self) -> bool:
        return self.has_learnt_enough

    def step(self, batch: UnpairedBatch, number: int) -> StepResult:
        if number == int(os.environ.get("KILL_AT_STEP", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        self.network.train()
        clip_norm = self.settings.optimizer.clip_norm
        restored = self.accelerator.forward(self.network, batch.rainy)
        score = self._score(restored)
        blurred = [nn.functional.avg_pool2d(image, 8) for image in (restored, batch.rainy)]
        content = self.options.content_weight * (blurred[0] - blurred[1]).abs().mean(dim=(1, 2, 3))
        terms = torch.stack([(score - 1).square() + content, content], dim=1)
        self.accelerator.backward(terms[:, 0].mean())
        # Loss terms of all processes, in the order of the batch.
        gathered, _ = self.accelerator.group.gather_losses(terms, batch.labels, self.settings.data.types)
        norm = self.accelerator.step(self.network_optimizer, float(gathered[:, 0].mean()), clip_norm)

        self.critic_optimizer.zero_grad()  # the network's loss has left gradients there
        fake, real = self._score(restored.detach()), self._score(batch.clean)
        critic_loss = (fake.square() + (real - 1).square()).mean()
        self.accelerator.backward(critic_loss)
        critic_value = self.accelerator.group.mean(float(critic_loss.detach()))
        self.accelerator.step(self.critic_optimizer, critic_value, clip_norm)
        self.has_learnt_enough = self.options.enough is not None and critic_value < self.options.enough

        scores = [(file.name, value) for file, value in zip(batch.files, score.tolist(), strict=True)]
        for name, value in chain.from_iterable(self.accelerator.group.gather(scores)):
            self.best[name] = max(value, self.best.get(name, value))
        losses = {"loss": gathered[:, 0].tolist(), "content": gathered[:, 1].tolist(), "critic": [critic_value]}
        return StepResult(len(losses["loss"]), losses, {"gradient_norm": norm})

    def _score(self, image: Tensor) -> Tensor:
        noise = self.options.noise * torch.randn_like(image) if self.options.noise else 0.0
        return self.accelerator.forward(self.critic, image + noise).mean(dim=(1, 2, 3))

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "has_learnt_enough": self.has_learnt_enough}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.best, self.has_learnt_enough = dict(state["best"]), bool(state["has_learnt_enough"])


def prepare_adversarial(
    settings: TrainSettings, options: AdversarialSettings, console: Console | None
) -> Preparation[UnpairedBatch]:
    network, critic = build_network(settings.model, console), Critic()
    if options.start is not None:
        weights = read_modules(options.start)
        network.load_state_dict(weights["network"])
        critic.load_state_dict(weights["critic"])
    return Preparation(
        UnpairedData(settings),
        lambda accelerator: Adversarial(settings, options, accelerator, network, critic),
        DarknessValidation(settings) if options.validation == "darkness" else None,
    )


ADVERSARIAL = Method(prepare_adversarial, AdversarialSettings)
METHODS["adversarial"] = ADVERSARIAL

if __name__ == "__main__":
    from derain.cli.main import app

    app()
