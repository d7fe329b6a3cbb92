"""Weights as other programs write them: read without running code, and recognised by the names of their tensors."""

import pickle
import re
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from derain.errors import CheckpointError

WRAPPERS = ("params_ema", "params", "state_dict", "model_state_dict", "model")
"""Keys under which training programs put the state dict."""

PREFIXES = ("module.", "net.", "model.")
"""What data-parallel training and trainer classes put before every name."""


@dataclass(frozen=True)
class PublicNetwork:
    """A network that others published, and how its state dict is recognised."""

    name: str
    home: str
    """Its authors' repository on GitHub."""
    signs: tuple[str, ...]
    """Patterns, each found in the name of some tensor of the network."""


_RESTORMER = (r"^encoder_level1\.\d+\.attn\.qkv_dwconv\.", r"^reduce_chan_level3\.", r"^patch_embed\.proj\.")

PUBLIC_NETWORKS = (
    PublicNetwork("PromptIR", "va1shn9v/PromptIR", (*_RESTORMER, r"^prompt1\.prompt_param$")),
    PublicNetwork("DRSformer", "cschenxiang/DRSformer", (*_RESTORMER, r"\.attn\.attn4$", r"\.ffn\.dwconv5x5\.")),
    PublicNetwork("Restormer", "swz30/Restormer", (*_RESTORMER, r"\.ffn\.dwconv\.", r"^refinement\.")),
    PublicNetwork(
        "NeRD-Rain", "cschenxiang/NeRD-Rain", (r"^patch_embed_small\.", r"^encoder_level1_max1\.", r"^INR\.")
    ),
    PublicNetwork("MPRNet", "swz30/MPRNet", (r"^shallow_feat1\.", r"^stage3_orsnet\.", r"^sam12\.")),
    PublicNetwork("NAFNet", "megvii-research/NAFNet", (r"^intro\.", r"^middle_blks\.", r"^encoders\.0\.0\.sca\.1\.")),
    PublicNetwork("PReNet", "csdwren/PReNet", (r"^conv0\.0\.", r"^res_conv5\.", r"^conv_i\.0\.", r"^conv_g\.0\.")),
    PublicNetwork("TransWeather", "jeya-maria-jose/TransWeather", (r"^Tenc\.", r"^convproj\.convd16x\.")),
    PublicNetwork("Uformer", "ZhendongWang6/Uformer", (r"^input_proj\.", r"^encoderlayer_0\.blocks\.0\.")),
    PublicNetwork("SwinIR", "JingyunLiang/SwinIR", (r"^conv_first\.", r"^layers\.0\.residual_group\.blocks\.0\.")),
    PublicNetwork("MAXIM", "google-research/maxim", (r"^stage_0_input_conv_0\b", r"^stage_0_encoder_block_0\b")),
)
"""In the order in which they are looked for: variants before what they derive from."""


def recognise(names: Collection[str]) -> PublicNetwork | None:
    """The published network whose state dict has tensors of these names, if it is one that is known."""
    for network in PUBLIC_NETWORKS:
        if all(any(re.search(sign, name) for name in names) for sign in network.signs):
            return network
    return None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors by name of a file that torch wrote, without the wrappings of training programs.

    Only tensors and plain containers are accepted; pickled code is refused, never run.

    Raises:
        CheckpointError: the file is missing or unreadable, or holds more than tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such weights file") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: refused: not a whole file of plain tensors ({reason}); "
            "pickled code is never run, convert the file to safetensors where it came from"
        ) from error
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path}: wanted a mapping of names to tensors, got a {type(state).__name__}")
    return without_prefixes({str(name): value for name, value in state.items()})


def without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors; a prefix that every name has, such as `module.`, is taken off."""
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
