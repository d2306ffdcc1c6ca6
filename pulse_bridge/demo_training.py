"""The demo's training: a small neural network learns to tell two noisy spirals apart, and says so by PULSE.

It is a real one, in plain Python: two hidden layers of tanh, the logistic loss, back-propagation, Adam. It runs
as a process of its own, as any training would: `python -m pulse_bridge.demo_training --path FILE --seconds N`.
"""

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pulse_bridge.writer import write_done_status, write_error_status, write_running_status

EPOCHS: Final = 10
STEP_S: Final = 0.2
BUSY_SHARE: Final = 0.6
"""How much of a step is spent on computing: the rest is left to whoever else is on a small machine."""

BATCH_POINTS: Final = 16
HIDDEN: Final = 12
FIRST_RATE: Final = 0.01
_DECAYS: Final = (0.9, 0.999)
_TURNS: Final = 1.5
_NOISE: Final = 0.04

Vector = list[float]
Point = tuple[float, float, int]


def draw_point(source: random.Random) -> Point:
    """Draw a point within [-1, 1]² of one of two spirals, 0 or 1, that wind into each other."""
    spiral = source.randrange(2)
    along = source.random() ** 0.5
    angle = (2 * _TURNS * along + spiral) * math.pi
    radius = 0.1 + 0.9 * along
    x = radius * math.cos(angle) + source.gauss(0, _NOISE)
    y = radius * math.sin(angle) + source.gauss(0, _NOISE)
    return x, y, spiral


class Network:
    """2 inputs, two hidden layers, the probability of spiral 1; its weights are one flat list.

    Args:
        source: Of the first weights.
    """

    def __init__(self, source: random.Random) -> None:
        self._sizes = ((2, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1))
        self.weights: list[Vector] = [
            # One row per neuron, its bias last.
            [source.gauss(0, 1.5 / math.sqrt(inputs)) for _ in range(inputs)] + [0.0]
            for inputs, outputs in self._sizes
            for _ in range(outputs)
        ]
        self._means = [[0.0] * len(row) for row in self.weights]
        self._squares = [[0.0] * len(row) for row in self.weights]
        self._updates = 0

    def _layers(self) -> tuple[list[Vector], list[Vector], Vector]:
        return self.weights[:HIDDEN], self.weights[HIDDEN : 2 * HIDDEN], self.weights[2 * HIDDEN]

    def train(self, batch: Sequence[Point], rate: float) -> tuple[float, int]:
        """Take one step down the gradient of the batch's mean loss.

        Returns:
            The mean loss before the step, in nats, and the number of points that were told apart.
        """
        first, second, last = self._layers()
        gradients = [[0.0] * len(row) for row in self.weights]
        loss, right = 0.0, 0
        for x, y, spiral in batch:
            inputs = (x, y, 1.0)
            a = [math.tanh(_dot(row, inputs)) for row in first] + [1.0]
            b = [math.tanh(_dot(row, a)) for row in second] + [1.0]
            score = _dot(last, b)
            margin = score if spiral else -score
            loss += math.log1p(math.exp(-abs(margin))) + max(0.0, -margin)
            right += margin > 0
            slope = (_sigmoid(score) - spiral) / len(batch)
            _add(gradients[2 * HIDDEN], b, slope)
            back_b = [slope * last[j] * (1 - b[j] * b[j]) for j in range(HIDDEN)]
            for j, slope_b in enumerate(back_b):
                _add(gradients[HIDDEN + j], a, slope_b)
            for i in range(HIDDEN):
                slope_a = sum(slope_b * row[i] for slope_b, row in zip(back_b, second, strict=True))
                _add(gradients[i], inputs, slope_a * (1 - a[i] * a[i]))
        self._step(gradients, rate)
        return loss / len(batch), right

    def _step(self, gradients: list[Vector], rate: float) -> None:
        """Move the weights.

        Source: Kingma and Ba, "Adam: a method for stochastic optimization", algorithm 1.
        """
        self._updates += 1
        mean_decay, square_decay = _DECAYS
        mean_scale = 1 / (1 - mean_decay**self._updates)
        square_scale = 1 / (1 - square_decay**self._updates)
        rows = zip(self.weights, gradients, self._means, self._squares, strict=True)
        for weights, slopes, means, squares in rows:
            for i, slope in enumerate(slopes):
                means[i] += (1 - mean_decay) * (slope - means[i])
                squares[i] += (1 - square_decay) * (slope * slope - squares[i])
                weights[i] -= rate * means[i] * mean_scale / (math.sqrt(squares[i] * square_scale) + 1e-8)


def _dot(row: Sequence[float], values: Sequence[float]) -> float:
    return sum(weight * value for weight, value in zip(row, values, strict=True))


def _add(row: Vector, values: Sequence[float], scale: float) -> None:
    for i, value in enumerate(values):
        row[i] += scale * value


def _sigmoid(value: float) -> float:
    return 0.5 * (1 + math.tanh(value / 2))


def train(path: str, seconds: float, *, seed: int = 7) -> None:
    """Train for so many seconds and write a status file after every step of about `STEP_S`.

    The points never run out: an epoch is a fixed number of steps, and a step as many batches as fit in its time.

    Args:
        path: The status file.
        seed: Of the points and the first weights.
    """
    source = random.Random(seed)
    network = Network(source)
    parent = os.getppid()
    steps = max(2, round(seconds / STEP_S))
    begin_s = time.monotonic()
    loss = math.log(2)
    for step in range(1, steps + 1):
        rate = FIRST_RATE * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        until_s = begin_s + (step - 1 + BUSY_SHARE) * seconds / steps
        losses: Vector = []
        right = 0
        while not losses or time.monotonic() < until_s:
            batch_loss, told_apart = network.train([draw_point(source) for _ in range(BATCH_POINTS)], rate)
            losses.append(batch_loss)
            right += told_apart
        loss = sum(losses) / len(losses)
        epoch = EPOCHS * step / steps
        accuracy = 100 * right / (len(losses) * BATCH_POINTS)
        message = f"epoch {math.ceil(epoch)}/{EPOCHS}, step {step}/{steps}, accuracy {accuracy:.0f} %"
        write_running_status(
            path, epoch, EPOCHS, loss, message, step=step, total_steps=steps, learning_rate=rate, strict=True
        )
        time.sleep(max(0.0, begin_s + step * seconds / steps - time.monotonic()))
        if os.getppid() != parent:
            return  # whoever started the demo was killed; nobody looks any more
    write_done_status(path, EPOCHS, loss, strict=True)


def main() -> None:
    """Read the command line, train, and write an error status if that fails."""
    parser = argparse.ArgumentParser(description="Train a small model and write PULSE.")
    parser.add_argument("--path", required=True)
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    Path(arguments.path).parent.mkdir(parents=True, exist_ok=True)
    try:
        train(arguments.path, arguments.seconds)
    except Exception as error:  # noqa: BLE001 - whatever it is, the viewer is to be told
        write_error_status(arguments.path, f"{type(error).__name__}: {error}")
        sys.exit(f"the demo's training failed: {error}")


if __name__ == "__main__":
    main()
