"""Ctrl-C and SIGTERM: asked once the work may end, asked twice it stops."""

import os
import signal

import pytest

from prost.interruption import Interruption, put_off


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asking_once_and_twice(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert not interruption.asked
        os.kill(os.getpid(), number)
        assert interruption.asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_patience() -> None:
    with Interruption(patient=True) as interruption:
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.asked


class TestPutOff:
    def test_one_signal_waits_for_the_end_of_the_work(self) -> None:
        done = []
        with pytest.raises(KeyboardInterrupt), put_off():
            os.kill(os.getpid(), signal.SIGINT)
            done.append("work")
        assert done == ["work"]

    def test_two_signals_stop_the_work(self) -> None:
        done = []
        with pytest.raises(KeyboardInterrupt), put_off():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            done.append("work")
        assert not done

    def test_the_handler_that_was_there_gets_the_first_signal(self) -> None:
        received = []
        before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
        try:
            with put_off():
                os.kill(os.getpid(), signal.SIGTERM)
                assert not received
            assert received == [signal.SIGTERM]
        finally:
            signal.signal(signal.SIGTERM, before)

    def test_an_error_of_the_work_is_told(self) -> None:
        with pytest.raises(ZeroDivisionError), put_off():
            os.kill(os.getpid(), signal.SIGINT)
            raise ZeroDivisionError

    def test_nothing_happens_without_a_signal(self) -> None:
        with put_off():
            pass
