"""Every network of the list, reduced to a size that tests can afford."""

import torch

from derain.models import zoo
from derain.models.network import RestorationNetwork
from derain.models.routed import RoutedNetwork

REDUCED: dict[str, dict[str, object]] = {
    "full": {
        "width": 8,
        "encoder_blocks": [1, 2, 1, 1],
        "decoder_blocks": [1, 1, 1],
        "refinement_blocks": 1,
        "experts": [3, 3, 2, 1],
    },
    "small": {"width": 4, "experts": [2, 2, 2, 1], "encoder_blocks": [1, 1, 1, 1], "decoder_blocks": [1, 1, 1]},
    "tiny": {"widths": [16, 16, 32, 32], "encoder_blocks": [1, 1, 1, 1], "decoder_blocks": [1, 1, 1]},
    "unet-tiny": {"widths": [8, 16, 16, 24], "encoder_blocks": [1, 1, 1, 1]},
}
"""Changes of the settings by name; a network that is not here is tested as it is."""

NAMES = tuple(zoo.MODELS)
ROUTED = tuple(name for name, entry in zoo.MODELS.items() if issubclass(entry.network, RoutedNetwork))


def reduced(name: str, **changes: object) -> RestorationNetwork:
    """The reduced network in evaluation mode, its weights random and away from the identity, so that all count."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = zoo.build(name, {**REDUCED.get(name, {}), **changes}).eval()
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    return network
