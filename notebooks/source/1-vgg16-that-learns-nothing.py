# %% [markdown]
# # 1. A VGG-16 that learns nothing
#
# A plain VGG-16 is trained on small colour images, and its loss stands still at one number for whole epochs. Why? Then the repaired network, one image on its way through its thirteen convolutions, and the classes that it answers.
#
# As it stands, the notebook draws its own images and runs in some seconds. To run it in full, on CIFAR-10 (hours on two cores), set `DATA, EPOCHS, RECIPE = "cifar10", 50, {}` in the next cell; without a recipe of its own it takes the one that comes with Cutaway.

# %%
from pathlib import Path

import cutaway
import drawings

FOLDER = Path("small")
DATA, EPOCHS = drawings.garments(FOLDER / "garments", count=40), 2
RECIPE = {"optimizer": "adamw", "learning_rate": 1e-3, "batch_size": 16, "ema": 0, "precision": "fp32", "log_every": 1}

data = cutaway.load_data(DATA, size=32, channels=3)
data

# %% [markdown]
# **How large is the network?** Count before you train. At 3x32x32 the head of this VGG-16 is 512-100-100-10, and with ten classes there are 14,777,098 parameters; at 3x224x224 it is 25088-4096-4096-10, and there are 134,301,514. The head decides, not the convolutions.
#
# *What to see:* where the parameters are, and how the receptive field grows to the whole image. *What misleads:* parameters say little about time. The first convolutions have few of them and do most of the multiply-adds per parameter.

# %%
from cutaway.lenses.architecture import summarize
from cutaway.models import build

summary = summarize(build("vgg16", classes=10, shape=(3, 32, 32)), (3, 32, 32))
assert summary.parameters == 14_777_098
summary

# %% [markdown]
# **A mistake that is easily made:** a ReLU behind the *last* layer. It looks like all the other ReLUs. Logits must be allowed to be negative; here each negative one becomes zero, and its gradient with it.

# %%
(FOLDER / "plain.py").write_text("""
from torch import nn

from cutaway.models import build


def make(num_classes, in_channels):
    network = build("vgg16", classes=num_classes, shape=(in_channels, 32, 32))
    network.classifier.append(nn.ReLU())
    return network
""")

AS_IT_WAS = {"optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant", "batch_size": 32, "ema": 0}
AS_IT_WAS |= {"initialisation": "default", "flip": "none", "shift": 0, "warmup": 0, "log_every": 1}
IMAGES = {"size": 32, "channels": 3}
stuck = cutaway.train(
    DATA, f"{FOLDER / 'plain.py'}:make", recipe=AS_IT_WAS | {"epochs": 1}, runs=FOLDER, data_options=IMAGES
)
stuck

# %% [markdown]
# **Does it learn?** For ten classes a loss of 2.3026 is ln 10, for six it is ln 6 = 1.7918: what a network reaches that answers the same to every image.
#
# *What to see:* the curve above wanders about that number and never leaves it. *What misleads:* such a network has an accuracy. It is the share of the class that it always answers, and on a lopsided data set that looks like success.

# %%
import math

last = stuck.metrics("epoch")[-1]
print(f"ln {len(data.classes)} = {math.log(len(data.classes)):.4f}, loss on validation {last['val_loss']:.4f}")

# %% [markdown]
# **What would an experienced colleague say?** The doctor reads the record of the run, not the code. It names the cause first; what that cause explains is listed with it, and is no second problem.
#
# *What to see:* the rule, the layer and the remedy. *What misleads:* the symptoms. Dead units and vanishing gradients are real here, and treating them (another rate, another optimizer) would help little while the ReLU stays.

# %%
cutaway.diagnose(stuck)

# %% [markdown]
# **And without that ReLU?** Batch normalisation behind every convolution (`vgg16_bn`) takes care of a signal that would fade on its way through thirteen layers.
#
# *What to see:* training and validation side by side. *What misleads:* the training accuracy of one epoch is a mean over a network that changed all the while. Which split a figure is from stands beside it; once "99.1 % test accuracy" was measured on the training set.

# %%
run = cutaway.train(DATA, "vgg16_bn", recipe=RECIPE | {"epochs": EPOCHS}, runs=FOLDER, data_options=IMAGES)
run

# %%
cutaway.evaluate(run.folder.path)

# %% [markdown]
# **What does it say of one image?** All classes, ranked. The column `logit` is what the network returns; `probability` is its softmax. *What misleads:* calling the first a probability. Only the second adds up to one, and even that is no promise: a network can be sure and wrong.

# %%
scope = cutaway.Scope(run.folder.path)
scope.predict("test:0")

# %% [markdown]
# **What happens to the image on its way?** One column a convolution, ten channels of each, chosen by a seed so that the figure is the same every time.
#
# *What to see:* edges first, then ever coarser spots that stand for something. *What misleads:* each column has its own colour scale, so a channel can be compared with its neighbours above and below but not with those at its left and right. A channel that is zero everywhere is hatched: it is dead *for this image*, which is not yet dead.

# %%
from cutaway.lenses.weights import conv_names

scope.feature_maps("test:0", conv_names(scope.network))

# %% [markdown]
# **Which units are dead for all images?** That takes a data set and no eye.
#
# *What to see:* the column `dead channels`: zero for every image of the split. *What misleads:* few images. A unit that is silent on 24 of them may speak on the next.

# %%
scope.statistics(data, "val")
