"""Fixtures that several test files share."""

import signal

import pytest

from mnistc import _core

# Started in the background, a shell has Ctrl-C ignored, by children, too; the tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(params=_core.available_kernels())
def table(request):
    """The name of a kernel table, active for the test."""
    before = _core.kernels()
    _core.use_kernels(request.param)
    yield request.param
    _core.use_kernels(before)
