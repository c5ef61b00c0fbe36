"""Fixtures that several test files share."""

import pytest

from mnistc import _core


@pytest.fixture(params=_core.available_kernels())
def table(request):
    """The name of a kernel table, active for the test."""
    before = _core.kernels()
    _core.use_kernels(request.param)
    yield request.param
    _core.use_kernels(before)
