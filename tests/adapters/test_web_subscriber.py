"""The page's server under the contract of every subscriber."""

import pytest

from pulse_bridge.subscriber import Subscriber, SubscriberUrl
from pulse_bridge.testing import SubscriberContract
from pulse_bridge_web import WebSubscriber
from tests.support.processes import free_port


class TestWebSubscriber(SubscriberContract):
    @pytest.fixture
    def subscriber(self) -> Subscriber:
        return WebSubscriber(SubscriberUrl.parse(f"web?port={free_port()}"))
