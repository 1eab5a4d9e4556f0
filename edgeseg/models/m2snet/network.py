"""M2SNet: MSNet whose subtraction units also compare sums over neighbourhoods.

Source: Zhao et al., "M2SNet: Multi-scale in Multi-scale Subtraction Network for Medical Image
Segmentation", arXiv:2303.10894. Parameter names are those of the published code.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..msnet.network import WIDTH, MsNet


class BoxFilter(nn.Module):
    """ReLU(BatchNorm(conv)) of a k x k convolution whose weights are all one.

    All its output channels are equal before the norm: the sum over channels, box-filtered. That
    is computed here, exactly and with half of the whole network's multiplications.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(WIDTH)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        area = self.size * self.size
        total = x.sum(1, keepdim=True)
        total = F.avg_pool2d(total, self.size, 1, self.size // 2) * area
        return F.relu(self.norm(total.expand(-1, WIDTH, -1, -1)))


class M2SNet(MsNet):
    """The network of the paper on Res2Net-50.

    Args:
        classes: Channels of the output. 1 is a sigmoid mask, more a softmax.

    Input (N, 3, H, W), H and W multiples of 32.
    """

    def __init__(self, classes: int = 1) -> None:
        super().__init__(classes)
        self.conv_3 = BoxFilter(3)
        self.conv_5 = BoxFilter(5)

    def difference(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """|A - B| + |f3(A) - f3(B)| + |f5(A) - f5(B)|."""
        near = (self.conv_3(deep) - self.conv_3(shallow)).abs()
        far = (self.conv_5(deep) - self.conv_5(shallow)).abs()
        result: Tensor = (deep - shallow).abs() + near + far
        return result
