"""The channels by which people are told of alerts: Airflow notifiers on Airflow connections.

A channel is the id of a connection; its type says how the message travels: ``smtp`` as an e-mail,
``slackwebhook`` to Slack, ``http`` as a signed request to any address.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import json
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import requests
from airflow.sdk import BaseNotifier

from kraken_airflow.hooks.kraken import find_connection
from kraken_recon.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow.sdk import Connection, Context

    from kraken_recon.alerts.rules import Notification

TIMEOUT_SECONDS: Final = 10
# Slack refuses longer ones.
SLACK_HEADER_LENGTH_MAX: Final = 150
SLACK_TEXT_LENGTH_MAX: Final = 3_000
SLACK_MARKS: Final = re.compile(r"[*_~`@#]|:(?=//)")
ZERO_WIDTH_SPACE: Final = "\N{ZERO WIDTH SPACE}"
SIGNATURE_HEADER: Final = "X-Kraken-Recon-Signature"


class WebhookNotifier(BaseNotifier):
    """Post a message as JSON to the address of an ``http`` connection, signed with its password.

    The signature is ``t=SECONDS,v1=HEX``: HMAC-SHA256 over ``SECONDS.BODY``, so that an old request cannot be
    sent again later. ``Idempotency-Key`` is the same for every attempt at one message.
    """

    template_fields = ("webhook_conn_id",)

    def __init__(self, *, webhook_conn_id: str, message: Mapping[str, Any]) -> None:
        super().__init__()
        self.webhook_conn_id = webhook_conn_id
        self.message = message

    def notify(self, context: Context) -> None:
        """Send the message.

        Raises:
            requests.RequestException: it was not accepted.
        """
        del context
        connection = find_connection(self.webhook_conn_id)
        body = json.dumps(dict(self.message)).encode()
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": str(self.message["idempotency_key"]),
        }
        if connection.password:
            headers[SIGNATURE_HEADER] = signature(connection.password, body, int(time.time()))
        reply = requests.post(
            _address(connection), data=body, headers=headers, timeout=TIMEOUT_SECONDS, allow_redirects=False
        )
        reply.raise_for_status()


def signature(secret: str, body: bytes, at_seconds: int) -> str:
    """Sign a body as of a moment."""
    digest = hmac.new(secret.encode(), f"{at_seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_seconds},v1={digest}"


def _address(connection: Connection) -> str:
    host = connection.host or ""
    base = host if "://" in host else f"{connection.schema or 'https'}://{host}"
    port = f":{connection.port}" if connection.port else ""
    return f"{base}{port}{connection.extra_dejson.get('path', '')}"


def send(channel: str, notification: Notification) -> None:
    """Send a notification on a channel.

    Raises:
        ConfigurationError: the channel is no connection, one of another type, or its provider is absent.
        Exception: whatever the channel's own library raises when the message was not accepted.
    """
    notifier_of(find_connection(channel), notification).notify({})


def notifier_of(connection: Connection, notification: Notification) -> BaseNotifier:
    """Make the notifier that a connection's type calls for."""
    name = connection.conn_id
    match connection.conn_type:
        case "smtp":
            with _provider(name, extra="smtp"):
                from airflow.providers.smtp.notifications.smtp import SmtpNotifier  # noqa: PLC0415 - slow
            to = connection.extra_dejson.get("to_email")
            if not to:
                raise ConfigurationError(f"connection {name}: name the receivers in its extra as to_email")
            return SmtpNotifier(
                smtp_conn_id=name,
                to=to,
                from_email=connection.extra_dejson.get("from_email"),
                # A line end would begin another header.
                subject=" ".join(notification.subject.split()),
                html_content=_for_mail(notification),
                custom_headers={"X-Idempotency-Key": str(notification.idempotency_key)},
            )
        case "slackwebhook":
            with _provider(name, extra="slack"):
                from airflow.providers.slack.notifications.slack_webhook import (  # noqa: PLC0415 - the same
                    SlackWebhookNotifier,
                )
            return SlackWebhookNotifier(
                slack_webhook_conn_id=name,
                text=_for_slack(f"{notification.subject}\n{notification.body}"),
                blocks=_slack_blocks(notification),
                unfurl_links=False,
                unfurl_media=False,
                timeout=TIMEOUT_SECONDS,
                retry_handlers=[],
            )
        case "http":
            return WebhookNotifier(webhook_conn_id=name, message=message_of(notification))
        case other:
            raise ConfigurationError(
                f"connection {name}: expected type smtp, slackwebhook or http, was {other}"
            )


@contextmanager
def _provider(channel: str, *, extra: str) -> Iterator[None]:
    """Say what to install where the provider that a channel travels by is absent."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"connection {channel}: {error.name} is not installed; pip install 'kraken-recon[{extra}]'"
        ) from error


def message_of(notification: Notification) -> dict[str, Any]:
    """Write a notification as JSON for a webhook."""
    return {
        "idempotency_key": str(notification.idempotency_key),
        "reason": notification.reason,
        "subject": notification.subject,
        "body": notification.body,
        "alert_ids": list(notification.alert_ids),
        "created_at": notification.created_at.isoformat(),
        "details": dict(notification.details),
    }


def _for_mail(notification: Notification) -> str:
    links = " · ".join(
        f'<a href="{html.escape(address)}">{html.escape(name.capitalize())}</a>'
        for name, address in notification.links.items()
    )
    return f"<pre>{html.escape(notification.body)}</pre>" + (f"<p>{links}</p>" if links else "")


def _slack_blocks(notification: Notification) -> list[dict[str, Any]]:
    """Lay a message out: its text as plain text, in which nothing is markup, and our links."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(notification.subject, SLACK_HEADER_LENGTH_MAX)},
        {"type": "section", "text": _plain(notification.body, SLACK_TEXT_LENGTH_MAX)},
    ]
    if notification.links:
        links = " · ".join(
            f"<{_escaped(address)}|{_for_slack(name.capitalize())}>"
            for name, address in notification.links.items()
        )
        blocks.append({"type": "section", "text": {"type": "mrkdwn", "text": links, "verbatim": True}})
    return blocks


def _plain(text: str, length_max: int) -> dict[str, Any]:
    shown = text if len(text) <= length_max else f"{text[: length_max - 1]}…"
    return {"type": "plain_text", "text": shown, "emoji": False}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _for_slack(text: str) -> str:
    """Write a text in which Slack finds no markup, link or name: what it shows where it shows no blocks."""
    return SLACK_MARKS.sub(lambda mark: f"{mark[0]}{ZERO_WIDTH_SPACE}", _escaped(text))
