"""Thousands of objects of one user take as long each as a few do."""

import json
import random
import time
from typing import Any

import pytest

from facility.kubernetes.client.kinds import Kind
from tests.any_object import changed
from tests.unit.kubernetes.test_any_object import RECORDED, answered, listed

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("kind", "found"), RECORDED)
def test_ten_thousand_of_them_take_ten_times_as_long_as_a_thousand(
    kind: Kind, found: dict[str, Any]
) -> None:
    def seconds(count: int) -> float:
        source = random.Random(1)
        objects = [changed(source, found) for _ in range(20)] * (count // 20)
        small = [each for each in objects if len(json.dumps(each)) < 5000] or [found] * count
        began = time.process_time()
        for each in listed(kind, small):
            answered(kind, each)
        return (time.process_time() - began) / len(small)

    few, many = seconds(500), seconds(5000)
    assert many < 3 * few + 0.001
