# %% [markdown]
# # 3. Two networks for garments
#
# A ResNet-18 and a small AlexNet learn to tell garments apart. What does the first layer see after each epoch, what have its kernels become, and which way are they pushed?
#
# As it stands, the notebook draws its garments and runs in some seconds. To run it in full (seven minutes for the ResNet on two cores, which then reached 93 %), set `DATA, EPOCHS, RECIPE = "fashion-mnist", 5, {}` below.

# %%
from pathlib import Path

import cutaway
import drawings

FOLDER = Path("small")
DATA, EPOCHS = drawings.garments(FOLDER / "garments", count=40), 2
RECIPE = {"optimizer": "adamw", "learning_rate": 1e-3, "batch_size": 16, "ema": 0, "precision": "fp32", "log_every": 1}

cutaway.load_data(DATA)

# %% [markdown]
# **Two networks, one loop.** Both get the same images in the same order, standardised by the training split.
#
# *What to see:* loss and accuracy of each epoch. *What misleads:* accuracies after two epochs compare how fast two networks begin, not how far they get.

# %%
resnet = cutaway.train(DATA, "resnet18", recipe=RECIPE | {"epochs": EPOCHS, "stem": "half"}, runs=FOLDER)
resnet

# %%
alexnet = cutaway.train(DATA, "alexnet", recipe=RECIPE | {"epochs": EPOCHS}, runs=FOLDER)
alexnet

# %% [markdown]
# **And if it is interrupted?** A run goes on where it stopped, and on the same machine it ends with the same bits as one that was never stopped. A finished run is left alone, so more epochs are a new run. Every epoch is a checkpoint.

# %%
resnet.epochs, resnet.weights("best").name

# %% [markdown]
# **How good are they on images that chose nothing?**
#
# *What misleads:* comparing two figures whose intervals overlap.

# %%
for run in (resnet, alexnet):
    measured = cutaway.evaluate(run.folder.path)
    low, high = measured["accuracy_interval"]
    print(
        f"{run.name}: {measured['accuracy']:.1%} of {measured['size']} test images, 95 % interval {low:.0%} to {high:.0%}"
    )

# %% [markdown]
# **What does the first layer answer to one image?**
#
# *What to see:* some channels draw edges of one direction, some the whole silhouette; blue is negative, red positive, white zero. *What misleads:* colours of two pictures with different scales. All channels here share one; its ends stand below.

# %%
first, last = cutaway.Scope(f"{resnet.folder.path}@1"), cutaway.Scope(f"{resnet.folder.path}@last")
last.feature_maps("test:0", "conv1")

# %% [markdown]
# **What did its kernels become?** Compare the first epoch with the last.
#
# *What to see:* little. Kernels of a first layer keep most of what chance gave them, and a small change decides. *What misleads:* seeing patterns. A 3x3 kernel of random numbers looks like an edge detector every other time.

# %%
first.kernels("conv1")

# %%
last.kernels("conv1")

# %% [markdown]
# **Which way is it pushed?** The gradient of the loss for one image and its true class.
#
# *What to see:* the size, at the end of the scale, early and late. *What misleads:* one image. A mean over a batch is what training follows; opposite pushes cancel in it.

# %%
truth = cutaway.load_data(DATA).splits["test"].labels[0].item()
first.gradients("test:0", truth, "conv1")

# %%
last.gradients("test:0", truth, "conv1")

# %% [markdown]
# **And for every epoch?** The run's own page has all this with a slider, in one file that needs no network; and its curves can be a figure for a paper.

# %%
from cutaway.pictures import curves_figure
from cutaway.report import write_page

print(write_page(resnet.folder.path))
print(curves_figure(resnet.metrics(), resnet.folder.path / "curves.svg", resnet.name))
