"""What computes: a runtime runs one network on images, on a device and in a precision.

`Restorer` cuts pictures into tiles and decides about gates; it knows a network by `Runtime` alone. Another way of
running networks is another class with these members, passed to `Restorer`.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from derain.errors import SettingsError
from derain.models.network import RestorationNetwork
from derain.models.routed import RoutedNetwork


class Precision(StrEnum):
    """The arithmetic that restoration runs in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Runtime(Protocol):
    """A network that is ready to run. Images are float32 (B, 3, H, W) in [0, 1], H and W multiples of `size_multiple`.

    Gates are one (B, experts) or (1, experts) tensor per mixture of experts, in the order of `mixture_names`.
    """

    @property
    def device(self) -> str:
        """Where it computes, such as cpu or cuda:0."""
        ...

    @property
    def precision(self) -> Precision:
        """The arithmetic, `FP32` or `BF16`."""
        ...

    @property
    def size_multiple(self) -> int:
        """Height and width of images are multiples of this."""
        ...

    @property
    def mixture_names(self) -> Sequence[str]:
        """The network's mixtures of experts in the order of computation; none if it does not route."""
        ...

    def gates(self, image: Tensor) -> list[Tensor]:
        """The gates that the network's routers choose for `image`, (B, experts) each; none if it does not route."""
        ...

    def run(self, image: Tensor, gates: Sequence[Tensor] | None = None) -> Tensor:
        """Restore `image`, which may lie on any device: float32 in [0, 1], on the image's device.

        With `gates` the routers are not asked; a network that does not route is given none.
        """
        ...


class TorchRuntime:
    """A network run by PyTorch: in channels_last, and under autocast for bf16.

    Args:
        network: as it was trained; the runtime makes its own copy for inference.
        device: "auto" (a CUDA device if there is one, else the CPU), or what `torch.device` takes.
        precision: "auto", "fp32" or "bf16"; "auto" takes bf16 where the processor computes in it.

    Raises:
        SettingsError: the device or precision cannot be used here.
    """

    def __init__(self, network: RestorationNetwork, device: str = "auto", precision: str = "auto") -> None:
        self._device = _choose_device(device)
        self._precision = _choose_precision(precision, self._device)
        ready = network.for_inference().to(self._device)
        self._network: RestorationNetwork = ready.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> str:
        return str(self._device)

    @property
    def precision(self) -> Precision:
        return self._precision

    @property
    def size_multiple(self) -> int:
        return self._network.size_multiple

    @property
    def mixture_names(self) -> list[str]:
        return self._network.mixture_names() if isinstance(self._network, RoutedNetwork) else []

    @torch.inference_mode()
    def gates(self, image: Tensor) -> list[Tensor]:
        if not isinstance(self._network, RoutedNetwork):
            return []
        with self._autocast():
            return self._network.gates(image.to(self._device))

    @torch.inference_mode()
    def run(self, image: Tensor, gates: Sequence[Tensor] | None = None) -> Tensor:
        on_device = image.to(self._device, memory_format=torch.channels_last)
        with self._autocast():
            restored: Tensor = self._network(on_device, gates) if gates else self._network(on_device)
        return restored.float().clamp_(0, 1).to(image.device)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._precision is Precision.BF16)


def _choose_device(device: str) -> torch.device:
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:  # torch's message lists every device that it was ever built for
        raise SettingsError(f"device {device!r} is unknown; use {_usable_devices()}") from error
    try:
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0][:100]
        raise SettingsError(f"device {device!r} cannot be used here ({reason}); use {_usable_devices()}") from error
    return chosen


def _usable_devices() -> str:
    return "auto, cpu or cuda" if torch.cuda.is_available() else "auto or cpu"


def _choose_precision(precision: str, device: torch.device) -> Precision:
    try:
        chosen = Precision(precision)
    except ValueError:
        names = ", ".join(Precision)
        raise SettingsError(f"precision {precision!r} is unknown; choose one of: {names}") from None
    if chosen is not Precision.AUTO:
        return chosen
    return Precision.BF16 if _computes_in_bf16(device) else Precision.FP32


def _computes_in_bf16(device: torch.device) -> bool:
    """Whether bf16 runs on the arithmetic units themselves; elsewhere it is emulated and slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # torch has no public name for this before 2.9.
    return bool(torch.cpu._is_avx512_bf16_supported())
