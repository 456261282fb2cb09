"""Learning-rate schedules."""


class Schedule:
    """The factor on the learning rate, as a function of the time in epochs."""

    def __call__(self, epoch: float) -> float:
        raise NotImplementedError

    def on_epoch(self, validation_loss: float | None) -> None:
        """Is told of each epoch's end."""
