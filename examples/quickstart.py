"""Build a network for an Intel CPU, look at a mask, and measure what the build is worth.

Run it in a folder of your own, or paste it into a notebook:

    python quickstart.py

It takes about a minute: the shipped EGE-UNet, 93 dermoscopic images that the package carries, FP32.
"""

from pathlib import Path

import edgeseg
from edgeseg.data.folder import open_sample

bundle = edgeseg.build("egeunet", "intel", "fp32", overwrite=True)
print(bundle, bundle.classes)

image = open_sample(["test"]).pairs[0].image_path
mask = bundle.predict(image)
print(f"{mask.mean():.1%} of {image.name} is {bundle.classes[1]}")
bundle.overlay(image).save("overlay.png")

print("golden pair:", bundle.verify())

report = edgeseg.bench([bundle], runs=30, images=8)
for row in report.rows:
    latency_ms, dice = row["latency_ms"]["p50"], row["accuracy"]["dice_pooled"]
    print(f"{row['name']}: {latency_ms:.1f} ms, Dice {dice:.4f}")

again = edgeseg.load(Path("bundles") / "egeunet-intel-fp32")
assert (again.predict(image) == mask).all()
