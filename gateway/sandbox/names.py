"""The names that the simulated AWS starts with, and that its clients rely on."""

from __future__ import annotations

from typing import Final

ACCOUNT_ID: Final = "000000000000"
"""No real account has this number: the webhook trusts the sandbox's certificate for its topics only."""

REGION: Final = "us-east-1"
CONFIGURATION_SET: Final = "sesgate"
EVENT_DESTINATION: Final = "sesgate-sns"
TOPIC_NAME: Final = "sesgate"
TOPIC_ARN: Final = f"arn:aws:sns:{REGION}:{ACCOUNT_ID}:{TOPIC_NAME}"

FEEDBACK_QUEUE: Final = "sesgate-feedback"
FEEDBACK_DEAD_LETTERS: Final = "sesgate-feedback-dead"
FEEDBACK_RECEIVES: Final = 5
"""So often a message is received from the queue before it goes to the dead letters."""

DEFAULT_LISTEN: Final = "127.0.0.1:4566"
DIRECTORY: Final = "sandbox"
"""The folder inside the data directory."""

DATABASE_FILE: Final = "sandbox.db"
SIGNING_KEY_FILE: Final = "sns-signing-key.pem"
SIGNING_CERTIFICATE_FILE: Final = "sns-signing-cert.pem"
"""The file that the webhook pins instead of fetching a certificate from Amazon."""

SIMULATOR_DOMAIN: Final = "simulator.amazonses.com"
EVENT_SUBJECT: Final = "Amazon SES Email Event Notification"
DESTINATION_TEST_MESSAGE: Final = "Successfully validated SNS topic for Amazon SES event publishing."

EVENT_TYPES: Final = {
    "SEND": "Send",
    "REJECT": "Reject",
    "BOUNCE": "Bounce",
    "COMPLAINT": "Complaint",
    "DELIVERY": "Delivery",
    "OPEN": "Open",
    "CLICK": "Click",
    "RENDERING_FAILURE": "Rendering Failure",
    "DELIVERY_DELAY": "DeliveryDelay",
    "SUBSCRIPTION": "Subscription",
}
"""How the API names an event type, and how the event itself spells it."""
