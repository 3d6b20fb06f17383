"""The observation normaliser: exact merging, and nothing non-finite gets in."""

import numpy as np
import pytest
import torch

from agents.encoder import OBS_CLIP, VARIANCE_FLOOR, Encoder, ObservationNormaliser
from agents.input_layout import INPUT_DIM, OBS_DIM


def batches(sizes: list[int], seed: int = 0) -> list[torch.Tensor]:
    """Batches that differ in mean and spread, so that a wrong weighting shows."""
    rng = np.random.default_rng(seed)
    scale = np.geomspace(1e-2, 10.0, OBS_DIM)
    return [
        torch.tensor((3 * i + (1 + i) * rng.standard_normal((n, OBS_DIM))) * scale).float()
        for i, n in enumerate(sizes)
    ]


def moments(normaliser: ObservationNormaliser) -> list[torch.Tensor]:
    return [normaliser.mean.clone(), normaliser.var.clone(), normaliser.count.clone()]


@pytest.mark.parametrize("sizes", [[1], [500], [1, 1, 1], [1, 300, 7, 64], [400, 3, 0, 2]], ids=str)
def test_merging_equals_the_moments_of_everything(sizes: list[int]) -> None:
    normaliser, parts = ObservationNormaliser(), batches(sizes)
    for part in parts:
        normaliser.update(part)
    everything = torch.cat(parts).double().numpy()
    np.testing.assert_allclose(normaliser.mean.numpy(), np.mean(everything, axis=0), rtol=1e-5)
    np.testing.assert_allclose(
        normaliser.var.numpy(), np.var(everything, axis=0), rtol=1e-5, atol=1e-9
    )
    assert normaliser.count == sum(sizes)


def test_shape_and_order_do_not_matter() -> None:
    """A rollout is (T, B, 39); its moments are those of its rows in any order."""
    normaliser, shuffled, (data,) = ObservationNormaliser(), ObservationNormaliser(), batches([60])
    normaliser.update(data.reshape(12, 5, OBS_DIM))
    for part in data[torch.randperm(60, generator=torch.Generator().manual_seed(1))].split(25):
        shuffled.update(part)
    for one, other in zip(moments(normaliser), moments(shuffled), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_non_finite_number_is_refused(bad: float) -> None:
    """One NaN averaged in would make every later input NaN: refused, and nothing has changed."""
    normaliser, (good, more) = ObservationNormaliser(), batches([20, 30])
    normaliser.update(good)
    before = moments(normaliser)
    more[17, 5] = bad
    with pytest.raises(ValueError, match="non-finite"):
        normaliser.update(more)
    assert all(torch.equal(a, b) for a, b in zip(before, moments(normaliser), strict=True))


def test_normalised_data_is_standard_and_clipped() -> None:
    normaliser, (data,) = ObservationNormaliser(), batches([4000])
    normaliser.update(data)
    out = normaliser(data)
    spread = torch.sqrt(normaliser.var / (normaliser.var + VARIANCE_FLOOR))
    torch.testing.assert_close(out.mean(0), torch.zeros(OBS_DIM), rtol=0, atol=1e-2)
    torch.testing.assert_close(out.std(0), spread, rtol=1e-2, atol=0)
    far = normaliser(normaliser.mean + 1e4)
    assert (far == OBS_CLIP).all()


def test_what_never_moved_does_not_explode() -> None:
    """A dimension constant in training (the hidden goal) may move at test by a millimetre."""
    normaliser = ObservationNormaliser()
    normaliser.update(torch.full((100, OBS_DIM), 0.3))
    assert normaliser(torch.full((OBS_DIM,), 0.301)).abs().max() < 0.2


def test_only_the_observation_is_normalised() -> None:
    """Previous action, reward and done come in fixed units and must pass as they are."""
    torch.manual_seed(0)
    encoder = Encoder(8, slopes=0.0)
    inputs = torch.randn(10, INPUT_DIM)
    encoder.normaliser.update(5 + 3 * torch.randn(100, OBS_DIM))
    obs = encoder.normaliser(inputs[:, :OBS_DIM])
    expected = torch.tanh(encoder.layer(torch.cat((obs, inputs[:, OBS_DIM:]), dim=-1)))
    assert torch.equal(encoder(inputs), expected)
    assert not torch.allclose(encoder(inputs), torch.tanh(encoder.layer(inputs)), atol=1e-2)


def test_moments_travel_with_the_weights_and_are_not_trained() -> None:
    """CleanRL's saved models famously omit them: an agent then acts on another input scale."""
    encoder = Encoder(4, slopes=0.3)
    encoder.normaliser.update(*batches([50]))
    copy = Encoder(4, slopes=0.3)
    copy.load_state_dict(encoder.state_dict())
    for one, other in zip(moments(encoder.normaliser), moments(copy.normaliser), strict=True):
        assert torch.equal(one, other)
    assert {name for name, _ in encoder.named_parameters()} == {"layer.weight", "layer.bias"}


def test_moments_are_kept_where_the_agent_is() -> None:
    """Observations come from the workers, on the CPU; `meta` stands in for a GPU."""
    normaliser = ObservationNormaliser().to("meta")
    normaliser.update(torch.randn(3, OBS_DIM))
    assert normaliser.mean.device.type == "meta"
