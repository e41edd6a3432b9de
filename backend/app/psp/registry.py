"""The providers whose webhooks we take."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from backend.app.psp.adyen import AdyenWebhooks
from backend.app.psp.mockpsp_events import MockPspWebhooks
from backend.app.psp.stripe import StripeWebhooks
from backend.app.psp.webhook import WebhookScheme

_SCHEMES: Final[tuple[WebhookScheme, ...]] = (MockPspWebhooks(), StripeWebhooks(), AdyenWebhooks())

SCHEMES: Final[Mapping[str, WebhookScheme]] = MappingProxyType({scheme.provider: scheme for scheme in _SCHEMES})
# In an order for people.
PROVIDERS: Final = tuple(sorted(SCHEMES))
