"""A device that is not there: tensors that say they lie on it, compute on the CPU, and refuse to mix with others.

    with PretendedDevice() as device:
        torch.zeros(3, device=device) + torch.ones(3)     # raises, as it would on an accelerator

Values are real, so that code which looks at them runs as it does elsewhere.
"""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")  # the one device beside the CPU that every build of torch has


class PretendedTensor(Tensor):
    """Holds a CPU tensor and says that it lies on `DEVICE`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "PretendedTensor":
        return Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: Tensor) -> None:
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on a pretended tensor outside of its device")


class _Python(TorchFunctionMode):
    """What never reaches the dispatcher: `torch.tensor`, which fills its result first, and `tolist`."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.tensor and torch.device(kwargs.get("device") or "cpu") == DEVICE:
            return torch.tensor(*args, **{**kwargs, "device": "cpu"}).to(DEVICE)
        if func is Tensor.tolist and isinstance(args[0], PretendedTensor):
            return args[0].held.tolist()
        return func(*args, **kwargs)


class PretendedDevice(TorchDispatchMode):
    """While entered, `DEVICE` can be used; entering gives it."""

    def __enter__(self) -> torch.device:
        self._python = _Python()
        super().__enter__()
        self._python.__enter__()
        return DEVICE

    def __exit__(self, *failure: Any) -> None:
        self._python.__exit__(*failure)
        super().__exit__(*failure)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        wanted = kwargs.get("device")
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        is_here = any(isinstance(tensor, PretendedTensor) for tensor in tensors)
        if wanted is not None:
            is_here = torch.device(wanted) == DEVICE
            kwargs["device"] = torch.device("cpu")
        elif is_here and func is not torch.ops.aten.copy_.default:
            # Numbers may come from the CPU, as on an accelerator; tensors may not.
            strangers = [t for t in tensors if not isinstance(t, PretendedTensor) and t.ndim > 0]
            if strangers:
                raise RuntimeError(f"{func}: tensors on {DEVICE} and on the CPU")
        if is_here and kwargs.get("generator") is not None:
            raise RuntimeError(f"{func}: a generator of the CPU cannot draw on {DEVICE}")
        result = func(*tree_map(_held, args), **tree_map(_held, kwargs))
        if func._schema.is_mutable and not func._schema.name.endswith("out"):
            return args[0]
        return tree_map(lambda leaf: PretendedTensor(leaf) if is_here and isinstance(leaf, Tensor) else leaf, result)


def _held(leaf: Any) -> Any:
    return leaf.held if isinstance(leaf, PretendedTensor) else leaf
