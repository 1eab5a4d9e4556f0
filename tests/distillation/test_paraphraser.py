from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from support import Counter

from edgeseg.distillation.paraphraser import Paraphraser, train_paraphrasers


def shapes(layers: torch.nn.Sequential) -> list[tuple[int, int]]:
    return [(layer.in_channels, layer.out_channels) for layer in layers if hasattr(layer, "weight")]


def test_layers_are_those_of_the_paper() -> None:
    paraphraser = Paraphraser(256, 24)
    assert shapes(paraphraser.encoder) == [(256, 256), (256, 24), (24, 24)]
    assert shapes(paraphraser.decoder) == [(24, 24), (24, 256), (256, 256)]
    slopes = [layer.negative_slope for layer in paraphraser.encoder[1::2]]
    assert slopes == [0.1] * 3
    assert isinstance(paraphraser.decoder[-1], torch.nn.ConvTranspose2d)


def test_wide_features_pass_256_channels() -> None:
    paraphraser = Paraphraser(300, 24)
    assert shapes(paraphraser.encoder)[0] == (300, 256)
    assert shapes(paraphraser.decoder)[-1] == (256, 300)


def test_shape_is_kept() -> None:
    features = torch.rand(2, 5, 7, 4)
    assert Paraphraser(5, 3)(features).shape == features.shape
    assert Paraphraser(5, 3).encoder(features).shape == (2, 3, 7, 4)


def test_training_reconstructs_without_labels() -> None:
    # Four channels that are multiples of one pattern: two nodes can say them.
    pattern = torch.rand(6, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    images = pattern * torch.tensor([1.0, -2.0, 0.5, 3.0]).view(1, 4, 1, 1)
    counter = Counter()
    trained, errors = train_paraphrasers(
        [4, 4],
        2,
        lambda numbers: [images[numbers], -images[numbers]],
        len(images),
        steps=200,
        seed=1,
        progress=counter,
    )
    assert len(trained) == len(errors) == 2
    assert all(error < 0.5 for error in errors)  # 1 is no better than zero
    assert counter.steps == counter.total == 200
    assert all(not value.requires_grad for one in trained for value in one.parameters())


def test_training_is_that_of_the_seed_and_leaves_torch_alone() -> None:
    images = torch.rand(3, 2, 4, 4)

    def weights(seed: int) -> list[float]:
        trained, _ = train_paraphrasers(
            [2], 2, lambda numbers: [images[numbers]], 3, steps=2, seed=seed
        )
        return trained[0].encoder[0].weight.flatten().tolist()

    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = weights(1)
    assert torch.equal(torch.rand(1), expected)
    assert first == weights(1) != weights(2)
