"""What a network with mixtures of experts offers beside restoring: read the gates or give them, fold."""

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from derain.models.moe import AttentionExperts, ConvExperts, Form, Gates, NestedMixture, Router, fold_mixtures
from derain.models.network import RestorationNetwork
from derain.settings import Settings

RoutingSetting = Literal["none", "soft", "hard"]
"""How the mixtures of a side of the network weigh their experts; none leaves them out."""


class MixtureSettings(Settings):
    """How the mixtures of a network route and are computed; the defaults are the paper's."""

    encoder_routing: RoutingSetting = "soft"
    """How encoder mixtures weigh their experts; none leaves the mixtures out."""
    decoder_routing: RoutingSetting = "hard"
    """How decoder and refinement mixtures weigh their experts; none leaves the mixtures out."""
    top_k: int = Field(default=2, ge=1)
    """Experts that a hard mixture keeps."""
    router_noise: float = 0.01
    """Standard deviation of the Gaussian noise on the routers' pooled features, in training only."""
    form: Form = "dense"
    """How mixtures are computed in training; all forms give the same result."""


class RoutedNetwork(RestorationNetwork):
    """Base of networks with mixtures of experts; a network defines its layers and `_run`."""

    experts_kind: ClassVar[type[AttentionExperts] | type[ConvExperts]]
    """What the experts of its mixtures are."""
    settings: MixtureSettings

    def _mixture(self, channels: int, experts: int, routing: RoutingSetting) -> NestedMixture | None:
        """A mixture of `experts` nested experts after the settings, or none."""
        if routing == "none":
            return None
        s = self.settings
        return NestedMixture(channels, experts, routing, s.top_k, s.router_noise, s.form, self.experts_kind)

    @abstractmethod
    def _run(self, image: Tensor, gates: Gates) -> Tensor:
        """Restore (B, 3, H, W), asking `gates` at every mixture."""

    def forward(self, image: Tensor, gates: Sequence[Tensor] | None = None) -> Tensor:
        """Restore `image`; with `gates` (as returned by `gates()`) the routers are not asked.

        Args:
            image: (B, 3, H, W), H and W multiples of `size_multiple`.
            gates: one (B, n) or (1, n) tensor per mixture, in the order of computation.
        """
        return self._run(image, Gates(gates))

    @torch.no_grad()
    def gates(self, image: Tensor) -> list[Tensor]:
        """The gates of every mixture for `image`, one (B, n) tensor each, in the order of `mixture_names()`."""
        gates = Gates()
        self._run(image, gates)
        return gates.used

    def mixture_names(self) -> list[str]:
        """The mixtures' names in the order of computation, such as encoder.1.0 (level 1, block 0).

        A U-Net computes its encoder from fine to coarse, its decoder from coarse to fine, then its refinement.
        """
        names = [name.rpartition(".mixture.router")[0] for name, m in self.named_modules() if isinstance(m, Router)]

        def order(name: str) -> tuple[int, int]:
            room, _, rest = name.partition(".")
            level = int(rest.partition(".")[0] or 0)
            return {"encoder": (0, level), "decoder": (1, -level), "refinement": (2, 0)}[room]

        return sorted(names, key=order)  # stable: blocks of one level stay in their order

    def for_inference(self) -> Self:
        """The folded network, without gradients."""
        return self.fold().requires_grad_(False)

    def fold(self) -> Self:
        """A copy in evaluation mode whose mixtures are merged into single convolutions; this one stays as it is."""
        folded = copy.deepcopy(self).eval()
        fold_mixtures(folded)
        return folded
