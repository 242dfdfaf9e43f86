"""Signals that ask a run to stop."""

import signal

import jax


class StopSignal:
  """A context in which SIGTERM and Ctrl-C only set `requested`, so that the loop can save first.

  A second signal interrupts at once (KeyboardInterrupt). With several processes signals keep their usual effect,
  because they do not arrive everywhere at the same step.

  Attributes:
    requested: whether a signal has arrived.

  Example:
    >>> import os
    >>> with StopSignal() as stop:
    ...   os.kill(os.getpid(), signal.SIGTERM)
    ...   stop.requested
    True
  """

  def __enter__(self) -> "StopSignal":
    self.requested = False
    self._previous = {}
    if jax.process_count() == 1:
      self._previous = {s: signal.signal(s, self._request) for s in (signal.SIGTERM, signal.SIGINT)}
    return self

  def _request(self, *_):
    if self.requested:
      raise KeyboardInterrupt
    self.requested = True

  def __exit__(self, *_) -> None:
    for number, handler in self._previous.items():
      signal.signal(number, handler)
