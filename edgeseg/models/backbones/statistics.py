"""Channel statistics of the images that the backbones' published weights were trained with.

Means and standard deviations of RGB in 0..1.
"""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# (pixel - 127) / 128
EFFICIENTNET_MEAN = (127 / 255,) * 3
EFFICIENTNET_STD = (128 / 255,) * 3
