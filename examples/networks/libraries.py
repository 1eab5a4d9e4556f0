"""Networks of MONAI and transformers, as their makers built them, in sizes for a CPU."""

from __future__ import annotations

from torch import nn

PLANE = {"spatial_dims": 2, "in_channels": 3, "out_channels": 1}


def monai(name: str, **arguments: object) -> nn.Module:
    """A network of MONAI with one output channel; `arguments` come beside those of `PLANE`."""
    from monai.networks import nets

    network: nn.Module = getattr(nets, name)(**{**PLANE, **arguments})
    return network


def reg_unet(width: int = 8) -> nn.Module:
    """MONAI's RegUNet: a sum of resized stages."""
    from monai.networks.nets import RegUNet

    return RegUNet(
        spatial_dims=2,
        in_channels=3,
        num_channel_initial=width,
        depth=3,
        out_channels=1,
        out_kernel_initializer="kaiming_uniform",
        out_activation=None,
    )


def unetr(size: int) -> nn.Module:
    """MONAI's UNETR for images of size x size."""
    from monai.networks.nets import UNETR

    return UNETR(
        3,
        1,
        (size, size),
        feature_size=8,
        hidden_size=48,
        mlp_dim=96,
        num_heads=4,
        spatial_dims=2,
    )


class PaddedVNet(nn.Module):
    """MONAI's VNet of four channels: its first sum wants a multiple of the input's channels."""

    def __init__(self) -> None:
        from monai.networks.nets import VNet

        super().__init__()
        self.widen = nn.Conv2d(3, 4, 1)
        self.net = VNet(spatial_dims=2, in_channels=4, out_channels=1)

    def forward(self, image):  # type: ignore[no-untyped-def]
        return self.net(self.widen(image))


def segformer() -> nn.Module:
    """SegFormer of transformers; its map is a quarter of the image's size."""
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    config = SegformerConfig(
        num_labels=1,
        hidden_sizes=[8, 16, 40, 64],
        depths=[1, 1, 1, 1],
        decoder_hidden_size=32,
        num_attention_heads=[1, 2, 5, 8],
    )
    return SegformerForSemanticSegmentation(config)
