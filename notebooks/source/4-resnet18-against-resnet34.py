# %% [markdown]
# # 4. ResNet-18 against ResNet-34
#
# Blocks [2, 2, 2, 2] against [3, 4, 6, 3] on the same images. "The deeper net's gradients are sparser and more spread out" is easily said of two pictures side by side. Is it so?
#
# As it stands, the notebook draws its garments and runs in some seconds. To run it in full, set `DATA, EPOCHS, RECIPE = "fashion-mnist", 5, {}` below.

# %%
from pathlib import Path

import cutaway
import drawings

FOLDER = Path("small")
DATA, EPOCHS = drawings.garments(FOLDER / "garments", count=30), 2
RECIPE = {
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "batch_size": 16,
    "stem": "half",
    "ema": 0,
    "precision": "fp32",
    "log_every": 1,
}

runs = [cutaway.train(DATA, name, recipe=RECIPE | {"epochs": EPOCHS}, runs=FOLDER) for name in ("resnet18", "resnet34")]

# %% [markdown]
# **Are they alike enough to be compared?** Look at the accuracies first. After two epochs on a few drawings the deeper one is behind, so what follows compares a network that knows its images with one that does not yet. Look again when you run it in full. *What misleads:* comparing gradients of a network that fits its images with those of one that does not: the first are small, whatever its depth.

# %%
runs[0]

# %%
runs[1]

# %% [markdown]
# **Which layer of the one does the work of which layer of the other?** CKA asks which images a layer finds alike, and compares that; 1 is the same but for rotation and scale.
#
# *What to see:* the brightest cell of each row moves from left to right: depth corresponds to depth, in steps of different length. Below the matrix, a row a layer: its most similar layer in the other network, its gradient, its dead units. *What misleads:* early layers of any two networks are alike because their images are, also of untrained ones; and a value without its error. The small print has the largest.

# %%
a, b = (cutaway.Scope(run.folder.path) for run in runs)
found = cutaway.compare(a, b, cutaway.load_data(DATA), split="train", images=96, batch=32)
found

# %% [markdown]
# **Are the gradients of the deeper one sparser, and more spread out?** Now it is a number. `gradient_sparsity` is 0 where all entries of a gradient are equally large and 1 where a single one is not zero; `gradient_spread` is 1 where the layers share the gradient's length evenly.
#
# *What to see:* the means of both networks. *What misleads:* a difference of some hundredths between two networks. Train each three times with other seeds before you believe it.

# %%
from cutaway.showing import Table

rows = []
for side, run in enumerate(runs):
    layers = [row for row in found.layer_rows(side) if row["gradient_sparsity"] is not None]
    sparsity = sum(row["gradient_sparsity"] for row in layers) / len(layers)
    rows.append((run.info["model"]["spec"], len(layers), sparsity, found.figures()["gradient_spread"][side]))
Table(("network", "layers", "mean sparsity", "spread"), rows)

# %% [markdown]
# **On which images do they disagree?** Where two networks of equal accuracy differ, each knows something that the other does not.
#
# *What to see:* wrong answers in red. *What misleads:* small numbers of them. `mcnemar_p` says how likely so uneven counts are if both are equally good; with no disagreement at all there is nothing to see, and the cell says so.

# %%
found.pictures().get("disagreements", "they agree on every image")

# %%
found.figures()["agreement"]

# %% [markdown]
# **And the pictures that one would have judged by eye?** Kernels, gradients and maps of one layer, unit beside matched unit, on one scale for both.

# %%
sides = [picture for name, picture in found.pictures().items() if name not in ("similarity", "disagreements")]
sides[0]
