"""Small networks with every kind of operation, for the methods that have a rule for each."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cutaway.lenses.attribution.method import Found, Job, Method
from cutaway.lenses.forward import opened
from cutaway.lenses.targets import TargetLike, parse_target


def find(
    network: nn.Module, images: Tensor, method: Method, target: TargetLike | list[TargetLike], **options: object
) -> Found:
    with opened(network) as forward:
        return method.compute(Job(forward, images, parse_target(target)), **options)


def some_images(count: int = 3, seed: int = 5) -> Tensor:
    return torch.randn(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def alive(network: nn.Module, seed: int = 0) -> nn.Module:
    """Eval mode, with normalisations that have seen something and no parameter of zeros."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def plain(bias: bool = True, inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.ReLU(inplace), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, stride=2, bias=bias), nn.ReLU(inplace), nn.Flatten(), nn.Linear(5, 3, bias=bias),
    ).eval()  # fmt: skip


class Residual(nn.Module):
    """One ReLU called three times, a way around added in place, and overlapping pooling."""

    def __init__(self, inplace: bool = True, functional: bool = False) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.norm2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.relu, self.pool, self.fc = nn.ReLU(inplace), nn.MaxPool2d(3, 2, 1), nn.Linear(4, 3)
        self.inplace, self.functional = inplace, functional

    def activate(self, x: Tensor) -> Tensor:
        if self.functional:
            return F.relu(x)
        return self.relu(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.activate(self.norm1(self.conv1(x))))
        out = self.norm2(self.conv2(self.activate(x)))
        if self.inplace:
            out += x
        else:
            out = out + x
        return self.fc(self.activate(out).mean((2, 3)))


class Dense(nn.Module):
    """Concatenation, normalisation before the activation, and average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm1, self.conv1 = nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(7), nn.Conv2d(7, 4, 1)
        self.norm3, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.cat([x, self.conv1(F.relu(self.norm1(x)))], 1)
        x = F.avg_pool2d(self.conv2(F.relu(self.norm2(x), inplace=True)), 2)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(F.relu(self.norm3(x)), 1), 1))


class Gated(nn.Module):
    """Depthwise convolution, squeeze and excitation, and every activation that saturates."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = F.hardswish) -> None:
        super().__init__()
        self.expand, self.norm = nn.Conv2d(2, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.squeeze, self.excite = nn.Conv2d(6, 3, 1), nn.Conv2d(3, 6, 1)
        self.project, self.fc = nn.Conv2d(6, 4, 1), nn.Linear(4, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.activation(self.depthwise(F.relu6(self.norm(self.expand(x)))))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        x = self.project(x * gate)
        return self.fc(F.silu(x, inplace=True).flatten(2).mean(-1))


class Transformer(nn.Module):
    """Patches, a class token, positions, attention, LayerNorm and GELU."""

    def __init__(self, fused: bool = True) -> None:
        super().__init__()
        self.patches = nn.Conv2d(2, 8, 4, 4)
        self.token, self.places = nn.Parameter(torch.randn(1, 1, 8)), nn.Parameter(torch.randn(1, 5, 8))
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(8), nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.up, self.down, self.head = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 3)
        self.fused = fused

    def attend(self, x: Tensor) -> Tensor:
        if self.fused:
            return self.attention(x, x, x, need_weights=False)[0]
        weights = F.linear(x, self.attention.in_proj_weight, self.attention.in_proj_bias)
        q, k, v = (part.reshape(len(x), -1, 2, 4).transpose(1, 2) for part in weights.chunk(3, -1))
        mixed = ((q / 2) @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.attention.out_proj(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.places
        x = x + self.attend(self.norm1(x))
        x = x + self.down(F.gelu(self.up(self.norm2(x))))
        return self.head(self.norm3(x)[:, 0])


class HandWritten(nn.Module):
    """What people write themselves: their own Swish, normalisation, attention over channels, and operators in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4)
        self.mix, self.fc = nn.Parameter(torch.randn(4, 4)), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        x = x * F.relu6(x + 3) / 6
        x = x / (x.pow(2).mean(1, keepdim=True) + 1).sqrt()
        x *= 1 + torch.tanh(F.softplus(x))
        x -= 0.5 * x.mean((2, 3), keepdim=True)
        x = torch.einsum("oc,nchw->nohw", self.mix, F.leaky_relu(x, 0.2)).clamp_(-3)
        x = torch.cat([x.amax((2, 3)), x.mean((2, 3)) / (x.std((2, 3)) + x.var([2, 3], correction=0) + 1)], 1)
        return self.fc(F.normalize(x, dim=1) + 0.5)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": plain,
    "residual": Residual,
    "dense": Dense,
    "gated": Gated,
    "silu": lambda: Gated(F.silu),
    "gelu": lambda: Gated(F.gelu),
    "mish": lambda: Gated(F.mish),
    "sigmoid": lambda: Gated(torch.sigmoid),
    "tanh": lambda: Gated(torch.tanh),
    "elu": lambda: Gated(F.elu),
    "transformer": Transformer,
    "own attention": lambda: Transformer(fused=False),
    "hand written": HandWritten,
}


def make(name: str) -> nn.Module:
    torch.manual_seed(1)
    return alive(NETWORKS[name]())


def torchvision_network(name: str) -> tuple[nn.Module, Tensor]:
    """A torchvision classifier with random weights through which the image gets to the score, and one small image."""
    from torchvision.models import get_model

    size = {"inception_v3": 96, "maxvit_t": 224, "vit_h_14": 70}.get(name, 64)
    options: dict[str, object] = {"image_size": size} if name.startswith("vit") else {}
    options |= {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    torch.manual_seed(0)
    network = get_model(name, weights=None, num_classes=10, **options).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # Heads and layer scales that start at 0 or near it would hide everything before them.
            if parameter.abs().max() < 1e-3:
                parameter.normal_(0, 0.1)
        # Normalisations that have not seen these images let a deep network's signal die out, or explode.
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train().momentum = 1.0
        images = torch.cat([torch.randn(3, 3, size, size), torch.zeros(1, 3, size, size)])
        network(images)
    return network.eval(), images[:1]
