"""PyTorch: eager (modules, fused optimisers) or one compiled function a step (Inductor)."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from works import NETWORKS, Data, Work


def build(network: str) -> nn.Sequential:
    """The network, without the last activation: losses take logits."""
    layers: list[nn.Module] = []
    side, channels, width = 28, 1, 784
    activations = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}
    for kind, *arguments in NETWORKS[network]:
        if kind == "conv":
            filters, size, activation = arguments
            layers += [nn.Conv2d(channels, filters, size), activations[activation]()]
            side, channels = side - size + 1, filters
            width = side * side * channels
        elif kind == "pool":
            layers.append(nn.MaxPool2d(2))
            side //= 2
            width = side * side * channels
        elif kind == "dense":
            units, activation = arguments
            layers += [nn.Linear(width, units), activations.get(activation, nn.Identity)()]
            width = units
        else:
            layers.append(nn.Flatten() if kind == "flatten" else nn.Dropout(arguments[0]))
    return nn.Sequential(*layers[:-1])


class Runner:
    def __init__(self, work: Work, data: Data, threads: int, options: dict) -> None:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        if options.get("simd_bits"):
            from torch._inductor import config

            config.cpp.simdlen = options["simd_bits"]
        self.work, self.data, self.compiled = work, data, options.get("compile", False)
        self.format = (
            torch.channels_last if options.get("channels_last") else torch.contiguous_format
        )
        self.model = build(work.network).to(memory_format=self.format)
        self.sigmoid = work.network == "mlp"
        self.x = self._tensor(data.float_images(work.images))
        if work.kind == "train":
            self._prepare_training()
        else:
            self._prepare_inference(options)

    def _tensor(self, images: np.ndarray) -> torch.Tensor:
        tensor = torch.from_numpy(images)[:, None]
        return tensor if self.sigmoid else tensor.to(memory_format=self.format)

    def _loss(self, logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if self.sigmoid:
            total = F.binary_cross_entropy_with_logits(logits, y, reduction="sum")
            return total / len(logits)
        return F.cross_entropy(logits, y)

    def _autocast(self):
        if self.work.precision == "bf16":
            return torch.autocast("cpu", dtype=torch.bfloat16)
        return nullcontext()

    def _prepare_training(self) -> None:
        labels = torch.from_numpy(self.data.first_labels(self.work.images)).long()
        self.y = F.one_hot(labels, 10).float() if self.sigmoid else labels
        self.model.train()
        rate = self.work.learning_rate
        if self.compiled:
            self._compile_step(rate)
            return
        kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[self.work.optimizer]
        self.optimizer = kind(self.model.parameters(), lr=rate, fused=True)
        self.step = self._eager_step

    def _eager_step(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self._loss(self.model(x), y)
        loss.backward()
        self.optimizer.step()

    def _compile_step(self, rate: float) -> None:
        """Forward, backward and the compiled optimiser: the documented way to compile all."""
        forward = torch.compile(self._forward_loss, dynamic=False)
        if self.work.optimizer == "sgd":
            optimizer = torch.optim.SGD(self.model.parameters(), lr=rate)
        else:
            optimizer = torch.optim.Adam(self.model.parameters(), lr=rate, foreach=True)
        update = torch.compile(optimizer.step, dynamic=False)

        def step(x: torch.Tensor, y: torch.Tensor) -> None:
            optimizer.zero_grad(set_to_none=True)
            forward(x, y).backward()
            update()

        self.step = step

    def _forward_loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        with self._autocast():
            return self._loss(self.model(x), y)

    def train(self) -> None:
        order = torch.randperm(self.work.images)
        x, y, size = self.x[order], self.y[order], self.work.batch_size
        step = self.step
        for start in range(0, self.work.images, size):
            step(x[start : start + size], y[start : start + size])

    def _prepare_inference(self, options: dict) -> None:
        last = nn.Sigmoid() if self.sigmoid else nn.Softmax(1)
        model = nn.Sequential(*self.model, last).eval()
        self.chunk = options.get("chunk", 1000)
        if options.get("compile"):
            model = torch.compile(model, dynamic=False)
        elif options.get("script"):
            example = self.x[: 1 if self.work.kind == "latency" else self.chunk]
            model = torch.jit.optimize_for_inference(torch.jit.trace(model, example))
        self.predictor = model
        self.image = np.ascontiguousarray(self.data.float_images(1)[:, None])

    def latency(self) -> None:
        model, image = self.predictor, self.image
        with torch.inference_mode():
            for _ in range(self.work.images):
                model(torch.from_numpy(image)).numpy()

    def throughput(self) -> None:
        with torch.inference_mode():
            for start in range(0, self.work.images, self.chunk):
                self.predictor(self.x[start : start + self.chunk]).numpy()

    def accuracy(self) -> float:
        self.model.eval()
        x = torch.from_numpy(self.data.test_images[:, None].astype(np.float32) / 255)
        with torch.inference_mode():
            guess = torch.cat([self.model(part).argmax(1) for part in x.split(1000)]).numpy()
        return float((guess == self.data.test_labels).mean())

    def detail(self) -> dict:
        return {"capability": torch.backends.cpu.get_cpu_capability()}
