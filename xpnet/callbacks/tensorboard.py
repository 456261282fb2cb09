"""TensorBoard: the course of a training in files that its web page shows."""

import copy
import os
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xpnet import distributed, tree
from xpnet._util.checks import require_flag
from xpnet.callbacks.standard import Callback
from xpnet.errors import ConfigError
from xpnet.metrics import EpochMetrics
from xpnet.nn import Layer, Sequential, Tied
from xpnet.tree import ArrayLike, Tree

if TYPE_CHECKING:
    from xpnet.model import Model


class TensorBoard(Callback):
    """Write each epoch to files for TensorBoard. It needs `pip install '.[track]'`, and no PyTorch.

    To look at them: `pip install tensorboard`, then `tensorboard --logdir FOLDER`. Its pages show:

    - Scalars: loss and accuracy, `loss/train_running` or `loss/train_end` as `EpochMetrics.train_metrics`
      says, the learning rate and the speed.
    - Histograms of the parameters after each epoch; with `examples`, of gradients and activations too.
    - Images: the weights of the first layer, if they are images.
    - HParams: network, loss, optimizer and its numbers, and `hparams`, with the last metrics of the `fit`.

    A later `fit` appends. After `load_checkpoint`, TensorBoard forgets the epochs after the checkpoint. Let
    each training have a folder of its own, in one parent folder: TensorBoard compares them. The networks of
    an `Ensemble` have the folders `network-0`, `network-1`, … in it. Of several processes the first writes.

    Arguments:
        folder: the folder; created if it does not exist.
        examples: `(x, y)`, a few examples. After each epoch, a pass in evaluation mode gives the gradients of
            their loss, and the outputs of the layers of a `Sequential`. The training stays the same.
        histograms: whether to write histograms; each copies all parameters to the host.
        hparams: more numbers, texts and flags for the HParams page, such as `{"batch_size": 64}`, which the
            model does not know.

    Raises ConfigError without the package tensorboardX, and for arguments that are none of these.
    """

    every_step = False
    each_network = True

    def __init__(
        self,
        folder: str | Path,
        examples: tuple[ArrayLike, ArrayLike] | None = None,
        histograms: bool = True,
        hparams: dict[str, bool | float | str] | None = None,
    ) -> None:
        if not isinstance(folder, str | os.PathLike):
            raise ConfigError(f"TensorBoard: expected folder to be a path, got {folder!r}")
        if examples is not None and not (isinstance(examples, tuple) and len(examples) == 2):
            raise ConfigError(f"TensorBoard: expected examples (x, y), got {type(examples).__name__}")
        require_flag("TensorBoard", "histograms", histograms)
        for name, value in (hparams or {}).items():
            if not isinstance(value, bool | int | float | str):
                raise ConfigError(
                    f"TensorBoard: expected hparams to be numbers, texts and flags, got {name}={value!r}"
                )
        try:
            from tensorboardX import SummaryWriter, summary
        except ImportError as error:
            raise ConfigError(
                "TensorBoard: expected the package tensorboardX: pip install tensorboardX"
            ) from error
        self.folder = Path(folder)
        self.examples = examples
        self.histograms = histograms
        self.hparams = dict(hparams or {})
        self._make_writer, self._summaries = SummaryWriter, summary.hparams
        self._writer: Any = None
        self._last: EpochMetrics | None = None

    def for_network(self, k: int) -> "TensorBoard":
        own = copy.copy(self)
        own.folder = self.folder / f"network-{k}"
        return own

    def on_start(self, model: "Model") -> None:
        # Two files of the same second would have the same name. TensorBoard reads them in alphabetical order.
        suffix = f".{model.epoch:06}-{model.epoch_step:06}"
        try:
            self._writer = self._make_writer(
                str(self.folder),
                purge_step=model.epoch + 1,
                filename_suffix=suffix,
                write_to_disk=distributed.process_id() == 0,
            )
        except OSError as error:
            raise ConfigError(f"TensorBoard: {self.folder}: cannot be written ({error.strerror})") from error
        self._last = None

    def on_epoch(self, model: "Model", metrics: EpochMetrics) -> None:
        self._last = metrics
        for tag, value in _scalars(metrics).items():
            self._writer.add_scalar(tag, value, metrics.epoch)
        if self.histograms:
            found: dict[str, Tree] = {"parameters": model.params}
            if self.examples is not None:
                found["activations"] = _activations(model, self.examples)
                found["gradients"] = _gradients(model, self.examples)
            for name, array in tree.items(found):
                self._write_histogram(name.replace(".", "/", 1), model.backend.to_numpy(array), metrics.epoch)
        image = _first_weights(model)
        if image is not None:
            form = "HW" if image.ndim == 2 else "HWC"
            self._writer.add_image("weights/first_layer", image, metrics.epoch, dataformats=form)
        self._writer.flush()

    def on_end(self, model: "Model") -> None:
        if self._last is not None:
            # `add_hparams` of the writer would make another run of it, in a folder of its own. Without
            # the first summary, of an experiment, TensorBoard shows the numbers that any of the runs has.
            _, started, ended = self._summaries(_hparams(model) | self.hparams, {})
            self._writer.file_writer.add_summary(started)
            self._writer.file_writer.add_summary(ended)
        self._writer.close()

    def _write_histogram(self, tag: str, values: np.ndarray, epoch: int) -> None:
        finite = values[np.isfinite(values)]  # the writer takes no others
        if finite.size:
            self._writer.add_histogram(tag, finite, epoch)


def _scalars(metrics: EpochMetrics) -> dict[str, float]:
    """The numbers of an epoch by their names in TensorBoard."""
    train = f"train_{metrics.train_metrics}"
    found = {
        f"loss/{train}": metrics.train_loss,
        "loss/validation": metrics.validation_loss,
        "loss/test": metrics.test_loss,
        f"accuracy/{train}": metrics.train_accuracy,
        "accuracy/validation": metrics.validation_accuracy,
        "accuracy/test": metrics.test_accuracy,
        "learning_rate": metrics.learning_rate,
        "speed/images_per_second": metrics.images_per_second,
    }
    return {tag: value for tag, value in found.items() if value is not None}


def _hparams(model: "Model") -> dict[str, Any]:
    """What the model was made of."""
    return {
        "network": repr(model.net),
        "parameters": model.parameter_count(),
        "loss": repr(model.loss_function),
        **dict(_numbers(model.optimizer, "optimizer")),
        "l2": model.objective.l2,
        "dtype": model.backend.dtype_name,
        "backend": model.backend.name,
        "seed": model.seed,
    }


def _numbers(thing: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Its class, and its numbers, texts and flags, also those of objects inside it."""
    yield name, type(thing).__name__
    for field in fields(thing) if is_dataclass(thing) else ():
        value = getattr(thing, field.name)
        if isinstance(value, bool | int | float | str):
            yield f"{name}.{field.name}", value
        elif is_dataclass(value):
            yield from _numbers(value, f"{name}.{field.name}")


def _gradients(model: "Model", examples: tuple[Any, Any]) -> Tree:
    """The gradients of the loss on these examples, in evaluation mode; the model stays the same."""
    training, (x, y) = model.training, examples
    model.eval()
    try:
        model.forward(x)
        model.zero_grads()
        model.backward(y)
        return model.grads
    finally:
        model.zero_grads()
        model.train(training)


def _activations(model: "Model", examples: tuple[Any, Any]) -> dict[str, Any]:
    """The output of each layer of a `Sequential` on these examples, in evaluation mode."""
    net: Layer = model.net
    params, (x, _) = model.snapshot(), model.prepare(*examples)
    while isinstance(net, Tied):
        params, net = net.of_net(params), net.net
    layers = zip(net.layers, params, strict=True) if isinstance(net, Sequential) else [(net, params)]
    found = {}
    with model.backend.precision():
        for i, (layer, branch) in enumerate(layers):
            x, _ = layer.forward(branch, x)
            found[f"{i}.{type(layer).__name__}"] = x
    return found


def _first_weights(model: "Model") -> np.ndarray | None:
    """The weights of the first layer as one picture, from 0 to 1; None if they are no images."""
    from xpnet.plots import networks  # late: it imports Matplotlib

    try:
        _, images = networks.first_images(model)
    except ConfigError:
        return None
    tiled, scale = networks.mosaic(images[: networks.MOST_IMAGES])
    return networks.shades(tiled, scale)
