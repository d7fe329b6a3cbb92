"""Networks with mixtures of experts: their forms agree, their gates can be read and given."""

import pytest
import torch
from torch import Tensor

from derain.errors import SettingsError
from derain.models import zoo
from derain.models.complexity import active_macs, measure
from derain.models.moe import FoldedMixture, set_form
from derain.models.routed import RoutedNetwork
from references.networks import ROUTED, reduced


def narrow(name: str, **changes: object) -> RoutedNetwork:
    """In double precision."""
    network = reduced(name, **changes).double()
    assert isinstance(network, RoutedNetwork)
    return network


def pictures(batch: int, height: int, width: int) -> Tensor:
    return torch.rand(batch, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=ROUTED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_gradients_reach_every_parameter_of_dense_and_folded_mixtures(name: str) -> None:
    for form in ("dense", "folded"):
        network = narrow(name, form=form, router_noise=0.0).train()
        network(pictures(4, 32, 32)).square().mean().backward()
        without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        assert not without
        # Of a router with one expert the softmax is constant; everything else must move.
        still = [n for n, p in network.named_parameters() if p.grad is not None and not p.grad.any()]
        assert all("router" in n or "experts" in n for n in still)


def test_sparse_dense_and_folded_forms_agree(name: str) -> None:
    network = narrow(name)
    batch = pictures(4, 32, 48)
    answers = {}
    for form in ("sparse", "dense", "folded"):
        set_form(network, form)
        answers[form] = network(batch)
    folded = network.fold()
    assert any(isinstance(m, FoldedMixture) for m in folded.modules())
    for form in ("sparse", "folded"):
        torch.testing.assert_close(answers[form], answers["dense"], rtol=0, atol=1e-10)
    torch.testing.assert_close(folded(batch), answers["dense"], rtol=0, atol=1e-10)
    # Folding leaves the original able to train.
    torch.testing.assert_close(network(batch), answers["folded"], rtol=0, atol=0)


def test_given_gates_replace_the_routers(name: str) -> None:
    network = narrow(name)
    whole, tile = pictures(1, 64, 64), pictures(2, 32, 32)
    gates = network.gates(whole)
    assert [len(g) for g in gates] == [1] * len(network.mixture_names())
    torch.testing.assert_close(network(whole, gates=gates), network(whole), rtol=0, atol=0)
    restored = network(tile, gates=gates)  # one picture's gates serve a batch of its tiles
    torch.testing.assert_close(restored, network(tile, gates=[g.expand(2, -1) for g in gates]), rtol=0, atol=1e-12)
    uniform = [torch.full_like(g, 1.0) for g in gates]
    assert not torch.allclose(network(tile, gates=uniform), restored)


def test_encoders_mix_softly_and_decoders_choose(name: str) -> None:
    network = narrow(name)
    top_k = network.settings.top_k
    for place, gates in zip(network.mixture_names(), network.gates(pictures(5, 32, 32)), strict=True):
        if place.startswith("encoder"):
            torch.testing.assert_close(gates.sum(dim=1), torch.ones(5, dtype=torch.float64))
            assert (gates > 0).all()
        else:
            assert ((gates > 0).sum(dim=1) == min(top_k, gates.shape[1])).all()


def test_router_noise_acts_in_training_only(name: str) -> None:
    network = narrow(name, router_noise=1.0)
    batch = pictures(2, 32, 32)
    assert torch.equal(network(batch), network(batch))
    network.train()
    assert not torch.equal(network(batch), network(batch))


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("none", "none"), ("hard", "hard"), ("soft", "soft"), ("hard", "soft")]
)
def test_every_mixture_variant_runs(name: str, encoder: str, decoder: str) -> None:
    network = narrow(name, encoder_routing=encoder, decoder_routing=decoder)
    assert network(pictures(1, 32, 32)).isfinite().all()
    assert bool(network.mixture_names()) == (encoder != "none")


def test_the_full_network_lands_on_the_papers_table_3() -> None:
    network = zoo.build("full")
    parameters = measure(network, 64, 64).parameters / 1e6
    gmacs = active_macs(network, 32, 32) * 64 / 1e9  # 32 x 32 is a 64th of 256 x 256, and convolutions scale
    assert parameters == pytest.approx(24.388, rel=0.01)
    assert gmacs == pytest.approx(126.541, rel=0.01)
    # The exact figures of this reading.
    assert parameters == pytest.approx(24.358154, abs=1e-6)
    assert gmacs == pytest.approx(125.957, abs=1e-3)


def test_folding_makes_the_full_network_cheaper_than_top_2() -> None:
    folded = measure(zoo.build("full").fold(), 64, 64)
    assert folded.parameters / 1e6 == pytest.approx(22.687, abs=1e-3)
    assert folded.macs * 16 / 1e9 == pytest.approx(123.353, abs=2e-3)


@pytest.mark.parametrize(
    ("model", "changes", "reason"),
    [
        ("tiny", {"experts": [9, 3, 2, 1]}, "divisible by 512"),
        ("tiny", {"experts": [0, 3, 2, 1]}, "nested experts"),
        ("full", {"width": 30}, "divisible by 16"),
        ("full", {"heads": [5, 2, 4, 8]}, "5 heads"),
        ("full", {"top_k": 0}, "top_k"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_before_anything_is_built(
    model: str, changes: dict[str, object], reason: str
) -> None:
    with pytest.raises(SettingsError, match=reason):
        zoo.build(model, changes)
