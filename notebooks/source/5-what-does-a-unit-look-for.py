# %% [markdown]
# # 5. What does a unit look for?
#
# A class, a unit, a layer: for each there is an image that excites it most. Made from noise, and found among real ones. And what happens without each of the tricks that make such images look like something?
#
# As it stands, the notebook draws garments, trains a small network on them and runs in some seconds. To run it in full on a network trained on ImageNet, with photographs of your own in `photos/`, replace the next two cells by `scope = cutaway.Scope("torchvision:squeezenet1_1", weights="default")`, `DATA = "photos"`, `IMAGE = "photos/…/1.jpg"`, `CLASS, OTHER = "tarantula", "tabby"`, `LAYER = "features.6.expand3x3"`, and set `STEPS = None` for each style's own number.

# %%
from pathlib import Path

import cutaway
import drawings

FOLDER = Path("small")
DATA = drawings.garments(FOLDER / "garments", count=40)
RECIPE = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "batch_size": 16,
    "stem": "half",
    "ema": 0,
    "precision": "fp32",
    "log_every": 1,
}
run = cutaway.train(DATA, "resnet18", recipe=RECIPE | {"epochs": 2}, runs=FOLDER)
run

# %%
scope = cutaway.Scope(run.folder.path)
IMAGE, CLASS, OTHER, LAYER, STEPS = "test:0", "Bag", "Dress", "layer1.1.conv2", 24
scope

# %% [markdown]
# **What is it shown?** Real patches first. People who see the patches that excite a unit most foretell its answer to a new image better than people who see images made for it (92 % against 82 %, Borowski et al., 2021).
#
# *What to see:* a row a unit, the best images with the unit's answer below. Do the patches of one row have something in common? *What misleads:* the best nine are extremes. Flat areas lie beyond the image's border, where the network saw its padding.

# %%
found = scope.exemplars(DATA, LAYER, k=6, split="train")
found

# %% [markdown]
# **And the least, and those in between?** One unit by itself: best, best places, deciles, least.

# %%
found.picture(LAYER, 3)

# %% [markdown]
# **What would excite that unit most?** Start from noise, go up the gradient.
#
# *What to see:* the number below the image beside what noise of the same colours reaches; in the small print `reached` against `noise mean`. *What misleads:* beauty. An image that does not beat noise shows nothing, however it looks.

# %%
UNIT = f"{LAYER}:3"
scope.imagine([UNIT, CLASS], steps=STEPS)

# %% [markdown]
# **The classic recipe, and each part left out.** In every step the image is rolled by some pixels (jitter), pulled towards the mean colour (L2), clamped to what pixels can be, and blurred now and then.
#
# *What to see:* without jitter the score is much higher and the image is worse: the ascent found a fine ripple in step with the strides, which only the network sees. The other parts matter less on 28 pixels and in so few steps; on photographs, without the clamp come colours that no image has, and without the blur a fine grain ([pictures](../docs/lenses/imagine.md#styles)). *What misleads:* the score.

# %%
PARTS = {"all four": {}, "no jitter": {"jitter": 0}, "no L2": {"l2": 0}, "no clamp": {"clamp": False}}
PARTS["no blur"] = {"blur": 0}
made = {name: scope.imagine(CLASS, "classic", steps=STEPS, keep=0, **options) for name, options in PARTS.items()}
{name: round(image.objectives.item(), 2) for name, image in made.items()}

# %%
import numpy as np

from cutaway.pictures import image_grid

image_grid(np.concatenate([image.images.numpy() for image in made.values()]), list(made), columns=5)

# %% [markdown]
# **Which pixels does the score hang on?** The gradient of the score with respect to the image, and the contributions that add up to it.
#
# *What to see:* the sum of the second is the score's distance from the baseline, and the small print says how nearly. *What misleads:* the first is what a *tiny* change would do, not what the pixel contributed.

# %%
scope.explain(IMAGE, "saliency", CLASS)

# %%
scope.explain(IMAGE, "integrated-gradients", CLASS)

# %% [markdown]
# **How little must change for another answer?** A fooling image: before, after, and the change made large enough to be seen.
#
# *What to see:* `linf`, the largest change of a pixel where black is 0 and white 1. For networks trained on photographs a hundredth can be enough; two drawn garments are further apart. *What misleads:* the third row, which is stretched to its full range; and that the ascent found no smaller change, which does not mean that there is none.

# %%
scope.fool(IMAGE, OTHER)

# %% [markdown]
# **Inside a network that you did not write.** A hook on one layer of a ResNet-50, by its dotted name: no code to change, and the network is left as it was. Its weights are random here, and the image is noise.
#
# *What to see:* 64 of 512 channels, chosen by a seed. *What misleads:* structure. A random network draws edges too; what is learnt shows in the comparison with one that has not learnt.

# %%
import torch
from torchvision.models import resnet50

from cutaway.pictures import channel_grid

torch.manual_seed(0)
hooked = cutaway.Scope(resnet50(num_classes=10).eval())
maps = hooked.feature_maps(torch.rand(1, 3, 64, 64), "layer2.0.conv3").maps["layer2.0.conv3"]
channel_grid(maps[0].numpy(), layer="layer2.0.conv3", count=64, columns=8)
