"""Signals are noted when they come and handled later; afterwards everything is as it was."""

from __future__ import annotations

import os
import select
import signal

from mesh.launcher.signals import Signals


def test_what_came_wakes_whoever_waits_and_is_given_once_and_in_order() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with Signals([signal.SIGUSR1, signal.SIGUSR2]) as signals:
        assert signals.take() == []
        os.kill(os.getpid(), signal.SIGUSR2)
        os.kill(os.getpid(), signal.SIGUSR1)
        assert select.select([signals.descriptor], [], [], 5)[0] == [signals.descriptor]
        assert signals.take() == [signal.SIGUSR2, signal.SIGUSR1]
        assert signals.take() == [] and select.select([signals.descriptor], [], [], 0)[0] == []
    assert signal.getsignal(signal.SIGUSR1) is before
